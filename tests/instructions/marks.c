/* Callgrind's client requests, for a Python program: begin counting, and write out what was counted since. */
#include <valgrind/callgrind.h>

void marks_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void marks_end(const char *phase) {
    CALLGRIND_DUMP_STATS_AT(phase);
    CALLGRIND_STOP_INSTRUMENTATION;
}
