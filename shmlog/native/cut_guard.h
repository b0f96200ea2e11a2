/* A region that somebody cuts while we have it mapped: the kernel answers an access behind its end with SIGBUS, which
 * ends the process. Clients can cut the lanes and regions that they write to, so owners and supervisors put private
 * zeros in the region's place instead, and go on: to them its client has written zeros.
 *
 * Only processes that ask for it get the handler, never a user's. It runs on the thread whose access failed, and walks a
 * list that is changed only outside of such accesses, with the GIL held.
 */
#ifndef SHMLOG_CUT_GUARD_H
#define SHMLOG_CUT_GUARD_H

#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>

typedef struct mapped_range {
    unsigned char *base;
    size_t bytes;
    struct mapped_range *next, **link; /* link: what points here; NULL when not listed */
} mapped_range;

/* Only mapping.pyx uses these; other modules see them because they see Mapping's fields. */
__attribute__((unused)) static mapped_range *mapped_ranges;
__attribute__((unused)) static struct sigaction sigbus_before;

static inline void range_list(mapped_range *range, unsigned char *base, size_t bytes) {
    range->base = base;
    range->bytes = bytes;
    range->next = mapped_ranges;
    range->link = &mapped_ranges;
    if (range->next) range->next->link = &range->next;
    mapped_ranges = range;
}

static inline void range_unlist(mapped_range *range) {
    if (!range->link) return;
    *range->link = range->next;
    if (range->next) range->next->link = range->link;
    range->link = NULL;
}

static inline void replace_cut_range(int number, siginfo_t *info, void *context) {
    const unsigned char *at = info->si_addr;
    (void)context;
    for (mapped_range *range = mapped_ranges; range; range = range->next)
        if (at >= range->base && at < range->base + range->bytes &&
            mmap(range->base, range->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
            return;
    sigaction(number, &sigbus_before, NULL); /* not ours: the access fails again, and ends the process as it would have */
}

static inline int outlive_cut_ranges(void) {
    struct sigaction action = {.sa_sigaction = replace_cut_range, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &sigbus_before);
}

#endif
