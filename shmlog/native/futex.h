/* Waiting on a word of shared memory. No FUTEX_PRIVATE_FLAG: waker and sleeper are different processes.
 * Deadlines are absolute on CLOCK_MONOTONIC, so an interrupted wait that is repeated does not grow. */
#ifndef SHMLOG_FUTEX_H
#define SHMLOG_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "access.h"
#include "layout.h"

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline int64_t wall_ms(void) { return clock_ns(CLOCK_REALTIME) / 1000000; }

/* Sleep while *word == expected until the deadline. 0: woken or the word differs; else ETIMEDOUT or EINTR. */
static inline int futex_wait_until(const void *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec t = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &t, NULL, FUTEX_BITSET_MATCH_ANY) == 0 || errno == EAGAIN) return 0;
    return errno;
}

static inline void futex_wake_all(void *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static inline void nap_ns(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

/* The waker's half of the wake-up protocol, after the release store of the news and a seq_cst fence.
 * SYNC POINT bell-count: pairs with bell-ticket in Doorbell.prepare. Returns 1 when somebody slept. */
static inline int bell_ring_if_sleeping(unsigned char *bell) {
    if (!shm_load32_relaxed(bell + BELL_SLEEPING)) return 0;
    shm_fetch_add32(bell + BELL_DOORBELL, 1);
    futex_wake_all(bell + BELL_DOORBELL);
    return 1;
}

#endif
