/* What the owner remembers of each producer id, by Kafka's rules for idempotence: the last five batches, the epoch.
 * The same rules as machines/producer_state.py, which is the reference (a test runs both over random histories).
 *
 * Entries have the same 128 bytes in the owner's table and in the images in the ctl region.
 */
#ifndef SHMLOG_PRODUCERS_H
#define SHMLOG_PRODUCERS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRODUCER_BATCHES 5

typedef struct {
    int64_t producer_id; /* -1: free */
    int16_t epoch;
    uint16_t batch_count;
    int32_t reserved0;
    struct { int64_t base_offset; int32_t last_sequence; int32_t offset_delta; } batches[PRODUCER_BATCHES]; /* oldest first */
    int64_t timestamp_ms;
    int64_t reserved[3];
} producer_entry;

_Static_assert(sizeof(producer_entry) == 128, "entries are images of themselves");

typedef struct { producer_entry *entries; size_t capacity, used; } producer_table; /* capacity: a power of two, or 0 */

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
        producer_table grown = {NULL, t->capacity ? 2 * t->capacity : 16, t->used};
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

#endif
