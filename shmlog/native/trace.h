/* Where the time of records goes: samples in shared memory.
 *
 * A ring of samples has one writer, who waits for nobody: an entry is a number and seven words, and whoever reads late
 * finds another number in its place. Owners have one in the ctl region, clients in their own.
 *
 * Which records are traced follows from their offsets: those that are multiples of the stride. So owner and readers
 * choose the same ones without a word between them, and a reader that is far behind chooses as one that is not.
 */
#ifndef SHMLOG_TRACE_H
#define SHMLOG_TRACE_H

#include "access.h"
#include "futex.h"
#include "layout.h"

#define TRACE_NEVER       INT64_MAX
#define TRACE_STRIDE_MAX  (UINT64_C(1) << 40)
#define TRACE_ROUND       16     /* after so many samples the owner looks whether the stride is right */
#define TRACE_SILENCE     64     /* without a sample for so many intervals it begins anew with a stride of 1 */

typedef uint64_t trace_words[TRACE_WORDS];   /* the first is the entry's number and not used */

/* The number of the next sample, for its writer and for whoever begins to read. */
static inline uint64_t trace_end(const unsigned char *ring) {
    uint64_t end = 0;
    for (int k = 0; k < TRACE_ENTRIES; k++) {
        uint64_t seq = shm_load_relaxed(ring + k * TRACE_ENTRY_BYTES + TRACE_SEQ);
        if (seq > end) end = seq;
    }
    return end;
}

static inline void trace_put(unsigned char *ring, uint64_t number, const trace_words words) {
    unsigned char *entry = ring + number % TRACE_ENTRIES * TRACE_ENTRY_BYTES;
    /* SYNC POINT trace-empty, trace-empty-fence: pair with trace-again. Who sees a new word sees that the old sample
     * is gone. */
    shm_store_relaxed(entry + TRACE_SEQ, 0);
    shm_fence_release();
    for (int k = 1; k < TRACE_WORDS; k++) shm_store_relaxed(entry + 8 * k, words[k]);
    shm_store_release(entry + TRACE_SEQ, number + 1); /* SYNC POINT trace-entry: pairs with trace-next */
}

/* Sample `number`, or a later one that has taken its place. Returns 1 + its number; 0: there is none yet. */
static inline uint64_t trace_next(const unsigned char *ring, uint64_t number, trace_words words) {
    const unsigned char *entry = ring + number % TRACE_ENTRIES * TRACE_ENTRY_BYTES;
    uint64_t seq = shm_load_acquire(entry + TRACE_SEQ); /* SYNC POINT trace-next: pairs with trace-entry */
    if (seq <= number) return 0;
    for (int k = 1; k < TRACE_WORDS; k++) words[k] = shm_load_relaxed(entry + 8 * k);
    shm_fence_acquire(); /* SYNC POINT trace-again: pairs with trace-empty-fence */
    return shm_load_relaxed(entry + TRACE_SEQ) == seq ? seq : 0;
}

/* The owner's part. It follows one record at a time, from the lane until readers may see it. */
typedef struct {
    unsigned char *ctl;
    uint64_t number, stride;
    int64_t next_offset;                      /* of the next record to follow; TRACE_NEVER: tracing is off */
    int64_t until_ns, interval_ns;
    int64_t round_ns;                         /* when this round of samples began */
    int round_samples;
    int following;
    int64_t offset, begun_ns, taken_ns, published_ns, written_ns;
    uint32_t count, bytes;
} record_tracer;

static inline void tracer_stride(record_tracer *t, uint64_t stride, int64_t end_offset) {
    t->stride = stride;
    t->next_offset = (int64_t)(((uint64_t)end_offset + stride - 1) & ~(stride - 1));
    shm_store_relaxed(t->ctl + CTL_TRACE_STRIDE, stride);
}

static inline void tracer_stop(record_tracer *t) {
    t->next_offset = TRACE_NEVER;
    t->following = 0;
    t->until_ns = 0;
    shm_store_relaxed(t->ctl + CTL_TRACE_STRIDE, 0);
    shm_store_relaxed(t->ctl + CTL_TRACE_UNTIL_NS, 0);
}

/* Begin, or go on for longer. `end_offset` is that of the log. */
static inline void tracer_start(record_tracer *t, int64_t until_ns, int64_t interval_ns, int64_t now, int64_t end_offset) {
    int begins = t->next_offset == TRACE_NEVER;
    t->until_ns = until_ns;
    t->interval_ns = interval_ns;
    shm_store_relaxed(t->ctl + CTL_TRACE_INTERVAL_NS, (uint64_t)interval_ns);
    shm_store_relaxed(t->ctl + CTL_TRACE_UNTIL_NS, (uint64_t)until_ns);
    if (begins) t->number = trace_end(t->ctl + CTL_TRACE);
    if (begins || now - t->round_ns > TRACE_SILENCE * interval_ns) {
        t->round_ns = now;
        t->round_samples = 0;
        tracer_stride(t, 1, end_offset);
    }
}

/* A new owner goes on with what its predecessor was told. */
static inline void tracer_init(record_tracer *t, unsigned char *ctl, int64_t end_offset) {
    int64_t now = monotonic_ns(), until_ns = (int64_t)shm_load_relaxed(ctl + CTL_TRACE_UNTIL_NS);
    t->ctl = ctl;
    t->next_offset = TRACE_NEVER;
    t->following = 0;
    if (until_ns > now) tracer_start(t, until_ns, (int64_t)shm_load_relaxed(ctl + CTL_TRACE_INTERVAL_NS), now, end_offset);
    else if (until_ns) tracer_stop(t);
}

/* A batch that holds the next record to follow was taken and stands in the ring, unpublished. */
static inline void tracer_taken(record_tracer *t, int64_t offset, uint32_t count, uint32_t bytes, int64_t begun_ns) {
    int64_t now = monotonic_ns();
    uint64_t stride = t->stride;
    if (now >= t->until_ns) {
        tracer_stop(t);
        return;
    }
    if (!t->following) {
        t->following = 1;
        t->offset = offset;
        t->count = count;
        t->bytes = bytes;
        t->begun_ns = begun_ns;
        t->taken_ns = now;
        t->published_ns = t->written_ns = 0;
        if (++t->round_samples == TRACE_ROUND) {
            if (now - t->round_ns < TRACE_ROUND * t->interval_ns / 2 && stride < TRACE_STRIDE_MAX) stride *= 2;
            else if (now - t->round_ns > TRACE_ROUND * t->interval_ns * 2 && stride > 1) stride /= 2;
            t->round_ns = now;
            t->round_samples = 0;
        }
    }
    tracer_stride(t, stride, offset + count);
}

/* Readers may see everything below `offset`; visible_ns was read just before they might. */
static inline void tracer_visible(record_tracer *t, int64_t offset, int64_t visible_ns) {
    trace_words words;
    if (offset <= t->offset) return;
    words[1] = (uint64_t)t->offset;
    words[2] = (uint64_t)t->begun_ns;
    words[3] = (uint64_t)t->taken_ns;
    words[4] = (uint64_t)t->published_ns;
    words[5] = (uint64_t)t->written_ns;
    words[6] = (uint64_t)visible_ns;
    words[7] = (uint64_t)t->count << 32 | t->bytes;
    trace_put(t->ctl + CTL_TRACE, t->number++, words);
    t->following = 0;
}

#endif
