/* The owner's half of the hand-off: how it takes batches out of a lane (shared-memory design, section 2).
 *
 * The lane belongs to a producer that may be broken or hostile, so every number read from it is checked against what
 * the owner knows, and read once.
 */
#ifndef SHMLOG_HANDOFF_H
#define SHMLOG_HANDOFF_H

#include "access.h"
#include "batch.h"
#include "layout.h"

/* After taking a small batch from an open word, leave the word alone for a while: looking at it takes its cache line
 * from the producer (prototype: 75-80 ns a send instead of 46, batches of 7 records instead of 90). */
#define GATHER_NS      10000
#define GATHER_RECORDS 4
#define GATHER_BYTES   4096

/* After a group of as many records the owner comes back for more after a nap, instead of asking to be woken for each
 * piece. */
#define BURST_RECORDS  64
#define BURST_NAP_NS   50000

/* limits.py's RING_BATCHES_MIN; tests/unit/test_limits.py compares. */
#define RING_BATCHES   4

enum { TAKE_NOTHING = 0, TAKE_BATCH = 1, TAKE_LATER = 2, TAKE_GARBAGE = 3 };

typedef struct {
    unsigned char *base;
    uint64_t data_bytes, cursor, lane_id, records, close_pos; /* close_pos: the cursor when it began to close */
    int64_t producer_id, linger_ns, seen_ns, not_before_ns, last_ns;
    int16_t producer_epoch;
    uint32_t max_frame, slot;
    int closing, lingering;  /* lingering: the open batch at the cursor has been seen, at seen_ns */
    int waits_for_ring;      /* the next batch was seen to be too large for the ring, which has not grown yet */
    int codec, level;        /* what its batches are compressed with now; codec 0: not at all */
    int own_codec, own_level; /* what its producer asked for */
    int stopped, announced;  /* stopped: the LANE_STATE_* why nothing is taken any more; announced: it stands in the lane */
} lane_reader;

/* What is known of a batch that is taken. Each number was read once, from the word or from the frame: what is in the
 * lane now may be something else. */
typedef struct { unsigned char *frame; uint32_t end, count; int32_t sequence; int from_word; } taken_batch;

static inline uint64_t frame_span(uint32_t end) { return ((uint64_t)end + 7) & ~UINT64_C(7); }

/* Can so many records be in so many bytes? What follows from a count is decided before the records are looked at. */
static inline int count_fits(const taken_batch *taken) {
    return taken->count && taken->count <= (taken->end - FRAME_BYTES) / RECORD_BYTES_MIN;
}

static inline int lane_take_open(lane_reader *lane, taken_batch *taken, uint64_t word, int64_t now) {
    taken->end = (uint32_t)open_end(word);
    taken->count = (uint32_t)open_count(word);
    taken->from_word = 1;
    if (taken->end <= FRAME_BYTES || taken->end > lane->max_frame || taken->end > lane->data_bytes || !count_fits(taken)) return TAKE_GARBAGE;
    lane->not_before_ns = taken->count >= GATHER_RECORDS && taken->end < GATHER_BYTES ? now + GATHER_NS : 0;
    return TAKE_BATCH;
}

/* The next batch of a lane. TAKE_LATER: it is open and lingers, or the word was looked at a moment ago; *deadline_ns is
 * lowered to when it should be taken. */
static inline int lane_take(lane_reader *lane, taken_batch *taken, int64_t now, int64_t *deadline_ns) {
    /* SYNC POINT handoff-take: pairs with handoff-begin and handoff-seal, whose word says that frames are complete. */
    uint64_t word = shm_load_acquire(lane->base + LANE_OPEN);
    int64_t distance = open_distance(word, lane->cursor);
    taken->frame = lane->base + LANE_DATA + lane->cursor % lane->data_bytes;
    taken->from_word = 0;
    if (distance == 0) {
        if (!open_count(word)) return TAKE_NOTHING;
        /* closed, counted and not published: a predecessor closed it and died */
        if (open_closed(word)) return lane_take_open(lane, taken, word, now);
        if (lane->linger_ns && !lane->closing) {
            if (!lane->lingering) { lane->lingering = 1; lane->seen_ns = now; }
            if (now < lane->seen_ns + lane->linger_ns) {
                if (lane->seen_ns + lane->linger_ns < *deadline_ns) *deadline_ns = lane->seen_ns + lane->linger_ns;
                return TAKE_LATER;
            }
        }
        if (now < lane->not_before_ns && !lane->closing) {
            if (lane->not_before_ns < *deadline_ns) *deadline_ns = lane->not_before_ns;
            return TAKE_LATER;
        }
        /* SYNC POINT handoff-close: pairs with handoff-count in LaneWriter.append. From here on the producer's next record goes into
         * another frame; the word that comes back, not the one seen before, says what this batch is. */
        word = shm_fetch_or_acquire(lane->base + LANE_OPEN, OPEN_CLOSED);
        distance = open_distance(word, lane->cursor);
        if (distance == 0) return lane_take_open(lane, taken, word, now);
    }
    if (distance < 0) return (uint64_t)-distance <= lane->data_bytes ? TAKE_NOTHING : TAKE_GARBAGE;
    taken->end = shm_load32_relaxed(taken->frame + FRAME_LENGTH);
    taken->count = shm_load32_relaxed(taken->frame + FRAME_COUNT);
    if ((uint64_t)distance > lane->data_bytes || taken->end <= FRAME_BYTES || taken->end > lane->max_frame || !count_fits(taken) ||
        frame_span(taken->end) > (uint64_t)distance)
        return TAKE_GARBAGE;
    return TAKE_BATCH;
}

static inline void lane_advance(lane_reader *lane, uint64_t cursor) {
    lane->cursor = cursor;
    lane->lingering = 0;
}

/* Is there anything to take that does not linger? The last look before sleeping. */
static inline int lane_has_work(const lane_reader *lane) {
    if (lane->stopped) return 0;
    uint64_t word = shm_load_acquire(lane->base + LANE_OPEN);
    int64_t distance = open_distance(word, lane->cursor);
    if (distance != 0) return distance > 0;
    return open_count(word) && (open_closed(word) || lane->closing || !lane->linger_ns || !lane->lingering);
}

#endif
