from libc.stdint cimport uint64_t

cdef extern from "access.h" nogil:
    uint64_t shm_load_acquire(const void *p)
    uint64_t shm_load_relaxed(const void *p)
    unsigned int shm_load32_acquire(const void *p)
    unsigned int shm_load32_relaxed(const void *p)
    void shm_store_release(void *p, uint64_t v)
    void shm_store_relaxed(void *p, uint64_t v)
    void shm_store32_release(void *p, unsigned int v)
    void shm_store32_relaxed(void *p, unsigned int v)
    int shm_cas_release(void *p, uint64_t expected, uint64_t desired)
    uint64_t shm_fetch_or_acquire(void *p, uint64_t bits)
    unsigned int shm_fetch_add32(void *p, unsigned int v)
    void shm_fence_seq_cst()
    void shm_fence_acquire()
    void shm_fence_release()
    void shm_copy_in(void *dst, const void *src, size_t n)
    void shm_zero(void *dst, size_t n)
    void shm_copy_out(void *dst, const void *src, size_t n)
    void shm_pause()

cdef extern from "fork_guard.h" nogil:
    unsigned int fork_generation()

cdef extern from "cut_guard.h" nogil:
    ctypedef struct mapped_range:
        unsigned char *base
    void range_list(mapped_range *range, unsigned char *base, size_t bytes)
    void range_unlist(mapped_range *range)


cdef class Mapping:
    cdef mapped_range range
    cdef unsigned char *base
    cdef readonly size_t size_bytes
    cdef readonly bint writable
    cdef size_t mapped_bytes
    cdef unsigned int generation
    cdef int exports

    cdef int check(self) except -1
    cdef int check_range(self, size_t offset, size_t length) except -1
    cdef void _unmap(self)
