/* What the owner remembers of each producer id, by Kafka's rules for idempotence: the last five batches, the epoch.
 * The same rules as machines/producer_state.py, which is the reference (a test runs both over random histories).
 *
 * Entries have the same 128 bytes in the owner's table and in the images in the ctl region. At most
 * CTL_IMAGE_PRODUCERS that have written are remembered: those that have a lane, and of the others those that wrote last
 * (by offset: timestamps are what producers say). Whoever has no lane has nothing on its way that could come twice.
 */
#ifndef SHMLOG_PRODUCERS_H
#define SHMLOG_PRODUCERS_H

#include "layout.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRODUCER_BATCHES 5

typedef struct {
    int64_t producer_id; /* -1: free */
    int16_t epoch;
    uint16_t batch_count;
    int32_t lanes; /* that it has in this partition now; counted by the owner, whatever an image says */
    struct { int64_t base_offset; int32_t last_sequence; int32_t offset_delta; } batches[PRODUCER_BATCHES]; /* oldest first */
    int64_t timestamp_ms;
    int64_t reserved[3];
} producer_entry;

_Static_assert(sizeof(producer_entry) == 128, "entries are images of themselves");

/* capacity: a power of two, or 0; used: entries; remembered: those of them that have written */
typedef struct { producer_entry *entries; size_t capacity, used, remembered; } producer_table;

enum { PRODUCER_NEW = 0, PRODUCER_DUPLICATE = 1, PRODUCER_FENCED = 2, PRODUCER_GAP = 3 };

static inline size_t producer_slot(const producer_table *t, int64_t id) {
    size_t slot = (size_t)((uint64_t)id * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (t->capacity - 1);
    while (t->entries[slot].producer_id != id && t->entries[slot].producer_id != -1) slot = (slot + 1) & (t->capacity - 1);
    return slot;
}

static inline const producer_entry *producer_find(const producer_table *t, int64_t id) {
    if (!t->capacity) return NULL;
    const producer_entry *e = &t->entries[producer_slot(t, id)];
    return e->producer_id == id ? e : NULL;
}

/* The entry of `id`, made if missing; NULL without memory. */
static inline producer_entry *producer_entry_of(producer_table *t, int64_t id) {
    if (2 * (t->used + 1) > t->capacity) {
        producer_table grown = {NULL, t->capacity ? 2 * t->capacity : 16, t->used, t->remembered};
        grown.entries = malloc(grown.capacity * sizeof(producer_entry));
        if (!grown.entries) return NULL;
        for (size_t k = 0; k < grown.capacity; k++) grown.entries[k].producer_id = -1;
        for (size_t k = 0; k < t->capacity; k++)
            if (t->entries[k].producer_id != -1) grown.entries[producer_slot(&grown, t->entries[k].producer_id)] = t->entries[k];
        free(t->entries);
        *t = grown;
    }
    producer_entry *e = &t->entries[producer_slot(t, id)];
    if (e->producer_id == -1) {
        memset(e, 0, sizeof *e);
        e->producer_id = id;
        e->epoch = -1;
        t->used++;
    }
    return e;
}

/* May this batch be appended? For PRODUCER_DUPLICATE, *base_offset is where the first one went. */
static inline int producer_check(const producer_entry *e, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t *base_offset) {
    if (!e || e->epoch == -1) return PRODUCER_NEW;
    if (epoch < e->epoch) return PRODUCER_FENCED;
    if (epoch > e->epoch) return base_sequence == 0 ? PRODUCER_NEW : PRODUCER_GAP;
    int32_t last_sequence = (int32_t)(((uint32_t)base_sequence + count - 1) & 0x7fffffff);
    for (int k = 0; k < e->batch_count; k++)
        if (e->batches[k].last_sequence == last_sequence && (uint32_t)e->batches[k].offset_delta + 1 == count) {
            *base_offset = e->batches[k].base_offset;
            return PRODUCER_DUPLICATE;
        }
    if (!e->batch_count) return PRODUCER_NEW;
    int32_t expected = (int32_t)(((uint32_t)e->batches[e->batch_count - 1].last_sequence + 1) & 0x7fffffff);
    return base_sequence == expected ? PRODUCER_NEW : PRODUCER_GAP;
}

static inline void producer_append(producer_entry *e, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t base_offset,
                            int64_t timestamp_ms) {
    if (epoch != e->epoch) { e->epoch = epoch; e->batch_count = 0; }
    if (e->batch_count == PRODUCER_BATCHES) {
        memmove(&e->batches[0], &e->batches[1], (PRODUCER_BATCHES - 1) * sizeof e->batches[0]);
        e->batch_count--;
    }
    e->batches[e->batch_count].base_offset = base_offset;
    e->batches[e->batch_count].last_sequence = (int32_t)(((uint32_t)base_sequence + count - 1) & 0x7fffffff);
    e->batches[e->batch_count].offset_delta = (int32_t)(count - 1);
    e->batch_count++;
    e->timestamp_ms = timestamp_ms;
}

static inline int64_t producer_last_offset(const producer_entry *e) {
    return e->batches[e->batch_count - 1].base_offset + e->batches[e->batch_count - 1].offset_delta;
}

/* Remove an entry, and close the gap that it leaves for those behind it. */
static inline void producer_forget(producer_table *t, producer_entry *e) {
    size_t gap = (size_t)(e - t->entries), slot = gap, mask = t->capacity - 1;
    if (e->batch_count) t->remembered--;
    t->used--;
    for (;;) {
        t->entries[gap].producer_id = -1;
        do {
            slot = (slot + 1) & mask;
            if (t->entries[slot].producer_id == -1) return;
        } while (producer_slot(t, t->entries[slot].producer_id) == slot);
        t->entries[gap] = t->entries[slot];
        gap = slot;
    }
}

/* Of those without a lane, the one that has written longest ago; NULL if all have one. */
static inline producer_entry *producer_oldest(const producer_table *t) {
    producer_entry *oldest = NULL;
    for (size_t k = 0; k < t->capacity; k++) {
        producer_entry *e = &t->entries[k];
        if (e->producer_id == -1 || e->lanes || !e->batch_count) continue;
        if (!oldest || producer_last_offset(e) < producer_last_offset(oldest)) oldest = e;
    }
    return oldest;
}

/* Take in a batch that is in the log; -1 without memory. */
static inline int producer_remember(producer_table *t, int64_t id, int16_t epoch, int32_t base_sequence, uint32_t count,
                                    int64_t base_offset, int64_t timestamp_ms) {
    producer_entry *e = producer_entry_of(t, id);
    if (!e) return -1;
    if (!e->batch_count) {
        if (t->remembered == CTL_IMAGE_PRODUCERS) {
            producer_entry *oldest = producer_oldest(t);
            if (!oldest) { /* all have lanes, so this one, long gone, has none */
                producer_forget(t, e);
                return 0;
            }
            producer_forget(t, oldest);
            e = producer_entry_of(t, id); /* it may have moved */
        }
        t->remembered++;
    }
    producer_append(e, epoch, base_sequence, count, base_offset, timestamp_ms);
    return 0;
}

#endif
