/* The wall clock in milliseconds, for every record that is sent: a call of clock_gettime costs more than its encoding.
 *
 * On x86 the last millisecond is used again while the time stamp counter has moved by less than REUSE_TICKS, which is
 * 0.13 ms at 1 GHz and less on faster counters: no timestamp is older than that. A counter that goes backwards (another
 * core of a machine that does not keep them in step) makes an enormous unsigned difference, and the clock is asked.
 * Callers hold the GIL, which keeps the two cells together. */
#ifndef SHMLOG_WALL_CLOCK_H
#define SHMLOG_WALL_CLOCK_H

#include "futex.h"

#define REUSE_TICKS (UINT64_C(1) << 17)

#if defined(__x86_64__)
static inline int64_t recent_wall_ms(void) {
    static uint64_t read_at;
    static int64_t last_ms; /* 0: never read */
    uint64_t now = __builtin_ia32_rdtsc();
    if (now - read_at >= REUSE_TICKS || !last_ms) {
        last_ms = wall_ms();
        read_at = now;
    }
    return last_ms;
}
#else
static inline int64_t recent_wall_ms(void) { return wall_ms(); }
#endif

#endif
