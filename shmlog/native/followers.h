/* What a leader believes of its followers: how far their copies of its log go (memory/replica_region).
 *
 * A follower writes its region, so what stands there is looked at and never trusted: progress counts under this leader's
 * epoch only, never goes back, and never beyond the leader's own log. What breaks that is a fault: from then on the
 * follower's region is not looked at any more, and what was believed of it before stays.
 */
#ifndef SHMLOG_FOLLOWERS_H
#define SHMLOG_FOLLOWERS_H

#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "layout.h"

#define FOLLOWER_SOUND     0
#define FOLLOWER_WENT_BACK 1   /* to an earlier offset, or away from this leader's epoch */
#define FOLLOWER_BEYOND    2   /* the end of the leader's log */
#define FOLLOWER_ABSENT    3   /* there is no region that could be mapped */

typedef struct {
    unsigned char *region;     /* NULL: absent */
    int64_t replica_id, written, synced;
    int counts, follows, fault;
} follower_view;

/* Look at the region once more. Returns 1 when the follower has got on. `end_offset`: of the leader's log. */
static inline int follower_look(follower_view *follower, uint64_t leader_epoch, int64_t end_offset) {
    if (follower->fault) return 0;
    /* SYNC POINT replica-progress: pairs with replica-epoch in ReplicaRegion.follow: the offsets that are read next are
     * about this leader's log. */
    if (shm_load_acquire(follower->region + REPLICA_EPOCH) != leader_epoch) {
        if (follower->follows) follower->fault = FOLLOWER_WENT_BACK;
        return follower->follows;
    }
    int64_t written = (int64_t)shm_load_relaxed(follower->region + REPLICA_WRITTEN_OFFSET);
    int64_t synced = (int64_t)shm_load_relaxed(follower->region + REPLICA_SYNCED_OFFSET);
    int got_on = !follower->follows || written != follower->written || synced != follower->synced;
    if (written < follower->written || synced < follower->synced) follower->fault = FOLLOWER_WENT_BACK;
    else if (written > end_offset || synced > end_offset) follower->fault = FOLLOWER_BEYOND;
    else {
        follower->written = written;
        follower->synced = synced;
        follower->follows = 1;
    }
    return got_on;
}

/* The offset up to which a follower has the log: in its file, or with `on_disk` on its disk. -1: it does not follow. */
static inline int64_t follower_progress(const follower_view *follower, int on_disk) {
    if (!follower->follows) return -1;
    return on_disk && follower->synced < follower->written ? follower->synced : follower->written;
}

#endif
