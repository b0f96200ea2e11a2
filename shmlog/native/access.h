/* Every access to memory that another process may touch at the same time goes through this header, so that the
 * same code compiles for production, for sanitizers and for counting crash points.
 *
 * The names say what the caller relies on; each use in the core carries a SYNC POINT comment with a name of its own and
 * that of its pair. tests/model/sync_points.py says for each name which model fails without it.
 * All cells are naturally aligned, so no access is ever torn (asserted in layout.h).
 */
#ifndef SHMLOG_ACCESS_H
#define SHMLOG_ACCESS_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define shm_pause() _mm_pause()
#elif defined(__aarch64__)
#define shm_pause() __asm__ __volatile__("yield")
#else
#define shm_pause() ((void)0)
#endif

/* Hooks of the crash tests (tests/crash/points), which kill the process at the n-th: one before every shared store, and
 * one for copies, which may be torn. Code that writes shared bytes without the functions below calls the first itself. */
#ifndef SHM_STORE_POINT
#define SHM_STORE_POINT() ((void)0)
#endif
#ifndef SHM_COPY
#define SHM_COPY(dst, src, n) copy_bytes(dst, src, n)
#endif

/* memcpy; what most keys and values are, 16 to 128 bytes, without a call, in pieces of which the last two may overlap. */
static inline void copy_bytes(void *dst, const void *src, size_t n) {
    unsigned char *to = (unsigned char *)dst;
    const unsigned char *from = (const unsigned char *)src;
    if (n < 16 || n > 128) { memcpy(to, from, n); return; }
    for (size_t k = 0; k < n - 16; k += 16) memcpy(to + k, from + k, 16);
    memcpy(to + n - 16, from + n - 16, 16);
}

/* Address space on both sides of every mapped region that nothing lies in; builds for sanitizers ask for some, so that a
 * step outside a region is noticed and not a step into another one. */
#ifndef SHM_GUARD_BYTES
#define SHM_GUARD_BYTES 0
#endif

static inline uint64_t shm_load_acquire(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE); }
static inline uint64_t shm_load_relaxed(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED); }
static inline uint32_t shm_load32_acquire(const void *p) { return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE); }
static inline uint32_t shm_load32_relaxed(const void *p) { return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED); }

static inline void shm_store_release(void *p, uint64_t v) { SHM_STORE_POINT(); __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE); }
static inline void shm_store_relaxed(void *p, uint64_t v) { SHM_STORE_POINT(); __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); }
static inline void shm_store32_release(void *p, uint32_t v) { SHM_STORE_POINT(); __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELEASE); }
static inline void shm_store32_relaxed(void *p, uint32_t v) { SHM_STORE_POINT(); __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED); }

/* Compare and swap, release on success, relaxed on failure. Returns 1 when it swapped. */
static inline int shm_cas_release(void *p, uint64_t expected, uint64_t desired) {
    SHM_STORE_POINT();
    return __atomic_compare_exchange_n((uint64_t *)p, &expected, desired, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static inline uint64_t shm_fetch_or_acquire(void *p, uint64_t bits) {
    SHM_STORE_POINT();
    return __atomic_fetch_or((uint64_t *)p, bits, __ATOMIC_ACQUIRE);
}

static inline uint32_t shm_fetch_add32(void *p, uint32_t v) {
    SHM_STORE_POINT();
    return __atomic_fetch_add((uint32_t *)p, v, __ATOMIC_RELEASE);
}

static inline void shm_fence_seq_cst(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void shm_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void shm_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

/* Copies into and out of shared memory. A reader's copy may race with the owner's overwriting: the caller
 * validates afterwards (seqlock), and discards the copy when it lost the race. */
static inline void shm_copy_in(void *dst, const void *src, size_t n) { SHM_STORE_POINT(); SHM_COPY(dst, src, n); }
static inline void shm_zero(void *dst, size_t n) { SHM_STORE_POINT(); memset(dst, 0, n); }
static inline void shm_copy_out(void *dst, const void *src, size_t n) { memcpy(dst, src, n); }

#endif
