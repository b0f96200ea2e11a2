/* Compaction of one plain batch: is it sound, which of its records stay, and the batch that they make.
 * Plain private memory only. The rules are Kafka's (MemoryRecords.filterTo, LogCleaner, KIP-534); where ours are stricter,
 * it says so.
 */
#ifndef SHMLOG_CLEAN_BATCH_H
#define SHMLOG_CLEAN_BATCH_H

#include <stdlib.h>

#include "batch_walk.h"
#include "offset_map.h"

enum {
    CLEAN_SOUND = 0, CLEAN_PARTIAL, CLEAN_FULL /* the map */, CLEAN_ROOM, CLEAN_LENGTH, CLEAN_MAGIC, CLEAN_OFFSET, CLEAN_COUNT,
    CLEAN_CHECKSUM, CLEAN_CODEC, CLEAN_RECORD, CLEAN_GROWN, CLEAN_MEMORY
};

#define NOTES_AHEAD 16  /* keys that are hashed before the first is looked for: so many cache misses at once */

/* Look at the batch at `batch`. `next_offset`: where the batch before ended. Offsets may be missing before `dense_from`. */
static inline int sound_batch(const unsigned char *batch, const unsigned char *end, int64_t next_offset, int64_t dense_from,
                              batch_view *view) {
    int64_t last_delta;
    if (end - batch < BATCH_HEADER_BYTES) return CLEAN_PARTIAL;
    if ((int32_t)be32(batch + BATCH_LENGTH) < BATCH_HEADER_BYTES - BATCH_LENGTH_FROM) return CLEAN_LENGTH;
    if (batch[BATCH_MAGIC] != 2) return CLEAN_MAGIC;
    view->end = batch + BATCH_LENGTH_FROM + be32(batch + BATCH_LENGTH);
    view->records = batch + BATCH_HEADER_BYTES;
    view->base_offset = (int64_t)be64(batch);
    last_delta = (int32_t)be32(batch + BATCH_LAST_DELTA);
    view->count = be32(batch + BATCH_COUNT);
    if (view->base_offset < next_offset || (view->base_offset > next_offset && view->base_offset > dense_from))
        return CLEAN_OFFSET;
    if (last_delta < 0 || view->base_offset > INT64_MAX - 1 - last_delta) return CLEAN_COUNT;
    view->last_offset = view->base_offset + last_delta;
    if (view->count > last_delta + 1 || (view->count != last_delta + 1 && view->last_offset >= dense_from)) return CLEAN_COUNT;
    if ((size_t)(end - batch) - BATCH_LENGTH_FROM < be32(batch + BATCH_LENGTH)) return CLEAN_PARTIAL;
    if (crc32c(0, batch + BATCH_CRC_FROM, (size_t)(view->end - batch) - BATCH_CRC_FROM) != be32(batch + BATCH_CRC))
        return CLEAN_CHECKSUM;
    view->leader_epoch = (int32_t)be32(batch + BATCH_LEADER_EPOCH);
    view->attributes = be16(batch + BATCH_ATTRIBUTES);
    view->base_timestamp = (int64_t)be64(batch + BATCH_BASE_TIMESTAMP);
    view->max_timestamp = (int64_t)be64(batch + BATCH_MAX_TIMESTAMP);
    if (view->attributes & BATCH_CONTROL) return CLEAN_SOUND; /* what is in it is nobody's business here */
    if (view->attributes & BATCH_CODEC_MASK) return CLEAN_CODEC;
    if (view->count > (size_t)(view->end - view->records) / RECORD_BYTES_MIN) return CLEAN_RECORD;
    return CLEAN_SOUND;
}

/* --- what cleaning must know of a record ------------------------------------------------------------------------------- */

typedef struct {
    const unsigned char *start, *end; /* its bytes, its length included */
    hash128 hash;
    int64_t offset, timestamp;
    uint8_t has_key, has_value, stays;
} record_note;

/* Decode up to `count` records from `p` into notes. Returns the byte after them, or NULL when one is damaged. `*delta` is
 * the offset delta of the record before, and becomes that of the last. */
static inline const unsigned char *note_records(const offset_map *map, const batch_view *view, const unsigned char *p,
                                                uint32_t count, int64_t *delta, record_note *notes) {
    record_fields r;
    for (uint32_t k = 0; k < count; k++) {
        record_note *note = &notes[k];
        note->start = p;
        p = get_record(p, view->end, &r);
        if (!p || r.offset_delta <= *delta || r.offset_delta > view->last_offset - view->base_offset) return NULL;
        if (r.header_count && !headers_fill(&r)) return NULL;
        *delta = r.offset_delta;
        note->end = p;
        note->offset = view->base_offset + r.offset_delta;
        note->timestamp = record_timestamp(view, &r);
        note->has_key = r.key_length >= 0;
        note->has_value = r.value_length >= 0;
        if (note->has_key) {
            note->hash = key_hash(map, r.key, (size_t)r.key_length);
            slot_prefetch(map, note->hash);
        }
    }
    return p;
}

/* --- first pass: which offset is the newest of each key ---------------------------------------------------------------- */

/* Put the records of a batch from `from_offset` on into the map. Those of transactions are left out, because nobody knows
 * here which were aborted: so they take nobody's place, and what they would replace stays.
 * CLEAN_FULL: the map has no room for a new key. It may have some of the batch, which does no harm: they are newer. */
static inline int map_batch(offset_map *map, const batch_view *view, int64_t from_offset) {
    record_note notes[NOTES_AHEAD];
    const unsigned char *p = view->records;
    int64_t delta = -1;
    if (view->attributes & (BATCH_CONTROL | BATCH_TRANSACTIONAL) || view->last_offset < from_offset) return CLEAN_SOUND;
    for (uint32_t done = 0; done < view->count;) {
        uint32_t some = view->count - done < NOTES_AHEAD ? view->count - done : NOTES_AHEAD;
        if (!(p = note_records(map, view, p, some, &delta, notes))) return CLEAN_RECORD;
        for (uint32_t k = 0; k < some; k++)
            if (notes[k].has_key && notes[k].offset >= from_offset && !map_put(map, notes[k].hash, notes[k].offset))
                return CLEAN_FULL;
        done += some;
    }
    return p == view->end ? CLEAN_SOUND : CLEAN_RECORD;
}

/* --- second pass: what stays ------------------------------------------------------------------------------------------- */

typedef struct {
    const offset_map *map;
    int64_t first_dirty_offset; /* what is in front was cleaned before */
    int64_t map_end_offset;     /* all records from there to here are in the map; batches behind it stay as they are */
    int64_t end_offset;         /* where the last segment ends; never in front of map_end_offset */
    int64_t now_ms, delete_retention_ms;
    const int64_t *producer_ids, *last_offsets; /* of producers that may go on, and of their last records; by id */
    size_t producer_count;
    record_note *notes;
    size_t note_room;
    /* counted */
    int64_t records_read, records_kept, tombstones_kept, tombstones_dropped, keyless_dropped, batches_changed;
    int64_t delete_horizon_ms; /* the latest of the batches that were written */
} cleaning;

typedef struct {
    uint32_t kept, tombstones, dropped_tombstones, dropped_keyless;
    int64_t base_timestamp, max_timestamp;
    int sets_horizon;
    size_t size;
} kept_records;

static inline int is_last_of_producer(const cleaning *c, const unsigned char *batch, int64_t last_offset) {
    int64_t producer_id = (int64_t)be64(batch + BATCH_PRODUCER_ID);
    size_t low = 0, high = c->producer_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->producer_ids[middle] < producer_id) low = middle + 1;
        else high = middle;
    }
    return low < c->producer_count && c->producer_ids[low] == producer_id && c->last_offsets[low] == last_offset;
}

/* A batch of no records that still says which offsets and sequence numbers were used. Kafka writes the same 61 bytes. */
static inline void put_empty_batch(unsigned char *out, const unsigned char *batch) {
    memcpy(out, batch, BATCH_HEADER_BYTES);
    put_be32(out + BATCH_LENGTH, BATCH_HEADER_BYTES - BATCH_LENGTH_FROM);
    put_be16(out + BATCH_ATTRIBUTES,
             be16(batch + BATCH_ATTRIBUTES) & (BATCH_LOG_APPEND_TIME | BATCH_TRANSACTIONAL | BATCH_CONTROL));
    put_be64(out + BATCH_BASE_TIMESTAMP, (uint64_t)-1);
    put_be32(out + BATCH_COUNT, 0);
    put_be32(out + BATCH_CRC, crc32c(0, out + BATCH_CRC_FROM, BATCH_HEADER_BYTES - BATCH_CRC_FROM));
}

/* Note all records of a batch and decide which stay. */
static inline int judge_records(cleaning *c, const batch_view *view, kept_records *found) {
    const unsigned char *p = view->records;
    const int is_transactional = !!(view->attributes & BATCH_TRANSACTIONAL);
    /* Stricter than Kafka: a tombstone goes only if it was clean before, that is, if what it deletes was removed by a
     * cleaning before this one. (The two can differ after a cleaning that was broken off.) */
    const int horizon_passed = view->attributes & BATCH_DELETE_HORIZON && view->last_offset < c->first_dirty_offset &&
                               c->now_ms >= view->base_timestamp && !is_transactional;
    int64_t delta = -1;
    if (view->count > c->note_room) {
        record_note *grown = realloc(c->notes, view->count * sizeof *grown);
        if (!grown) return CLEAN_MEMORY;
        c->notes = grown;
        c->note_room = view->count;
    }
    memset(found, 0, sizeof *found);
    found->max_timestamp = -1;
    for (uint32_t done = 0; done < view->count;) {
        uint32_t some = view->count - done < NOTES_AHEAD ? view->count - done : NOTES_AHEAD;
        record_note *note = c->notes + done, *end = note + some;
        if (!(p = note_records(c->map, view, p, some, &delta, note))) return CLEAN_RECORD;
        for (done += some; note < end; note++) {
            note->stays = 1;
            if (!note->has_key) {
                note->stays = 0;
                found->dropped_keyless++;
            } else if (map_look(c->map, note->hash) > note->offset) {
                note->stays = 0;
            } else if (!note->has_value && horizon_passed) {
                note->stays = 0;
                found->dropped_tombstones++;
            }
            if (note->stays) {
                if (!found->kept++) found->base_timestamp = note->timestamp;
                if (note->timestamp > found->max_timestamp) found->max_timestamp = note->timestamp;
                found->tombstones += !note->has_value;
            }
        }
    }
    if (p != view->end) return CLEAN_RECORD;
    /* The time for readers to see a tombstone begins when what it deletes is gone: so anew, where a cleaning that was
     * broken off had set it. */
    found->sets_horizon = found->tombstones && !is_transactional &&
                          (!(view->attributes & BATCH_DELETE_HORIZON) || view->last_offset >= c->first_dirty_offset);
    if (found->sets_horizon) found->base_timestamp = c->now_ms + c->delete_retention_ms;
    else if (view->attributes & BATCH_DELETE_HORIZON) found->base_timestamp = view->base_timestamp;
    return CLEAN_SOUND;
}

/* What a record's timestamp delta and what lies behind its offset delta are in the batch that is written. */
static inline const unsigned char *record_rest(const record_note *note) {
    int64_t ignored;
    const unsigned char *p = get_varint(note->start, note->end, &ignored) + 1;
    return get_varint(get_varint(p, note->end, &ignored), note->end, &ignored);
}

static inline size_t moved_body_bytes(const record_note *note, const unsigned char *rest, int64_t delta, int64_t offset_delta) {
    return 1 + varint_bytes(zigzag(delta)) + varint_bytes(zigzag(offset_delta)) + (size_t)(note->end - rest);
}

/* Are the records' bytes as they were, timestamps included? */
static inline int times_stay(const batch_view *view, const kept_records *found) {
    return found->base_timestamp == view->base_timestamp && !(view->attributes & BATCH_LOG_APPEND_TIME);
}

static inline size_t kept_bytes(const cleaning *c, const batch_view *view, const kept_records *found) {
    size_t size = BATCH_HEADER_BYTES;
    const int as_they_are = times_stay(view, found);
    for (uint32_t k = 0; k < view->count; k++) {
        const record_note *note = &c->notes[k];
        if (!note->stays) continue;
        if (as_they_are) {
            size += (size_t)(note->end - note->start);
        } else {
            int64_t delta = (int64_t)((uint64_t)note->timestamp - (uint64_t)found->base_timestamp);
            size_t body = moved_body_bytes(note, record_rest(note), delta, note->offset - view->base_offset);
            size += varint_bytes(zigzag((int64_t)body)) + body;
        }
    }
    return size;
}

/* The batch of the records that stay: offsets, producer and epoch are those of the batch that it was. */
static inline void put_kept(const cleaning *c, const unsigned char *batch, const batch_view *view, const kept_records *found,
                            unsigned char *out) {
    unsigned char *p = out + BATCH_HEADER_BYTES;
    const int as_they_are = times_stay(view, found);
    const int64_t max_timestamp = view->attributes & BATCH_LOG_APPEND_TIME ? view->max_timestamp : found->max_timestamp;
    for (uint32_t k = 0; k < view->count; k++) {
        const record_note *note = &c->notes[k];
        if (!note->stays) continue;
        if (as_they_are) {
            memcpy(p, note->start, (size_t)(note->end - note->start));
            p += note->end - note->start;
        } else {
            const unsigned char *rest = record_rest(note);
            int64_t delta = (int64_t)((uint64_t)note->timestamp - (uint64_t)found->base_timestamp);
            int64_t offset_delta = note->offset - view->base_offset;
            p = put_varint(p, zigzag((int64_t)moved_body_bytes(note, rest, delta, offset_delta)));
            *p++ = 0;
            p = put_varint(p, zigzag(delta));
            p = put_varint(p, zigzag(offset_delta));
            memcpy(p, rest, (size_t)(note->end - rest));
            p += note->end - rest;
        }
    }
    memcpy(out, batch, BATCH_HEADER_BYTES);
    put_be32(out + BATCH_LENGTH, (uint32_t)(p - out) - BATCH_LENGTH_FROM);
    put_be16(out + BATCH_ATTRIBUTES, (uint16_t)(view->attributes | (found->sets_horizon ? BATCH_DELETE_HORIZON : 0)));
    put_be64(out + BATCH_BASE_TIMESTAMP, (uint64_t)found->base_timestamp);
    put_be64(out + BATCH_MAX_TIMESTAMP, (uint64_t)max_timestamp);
    put_be32(out + BATCH_COUNT, found->kept);
    put_be32(out + BATCH_CRC, crc32c(0, out + BATCH_CRC_FROM, (size_t)(p - out) - BATCH_CRC_FROM));
}

/* Write what stays of a sound batch to `out`, which has `room` bytes; *size is what that takes, 0 if nothing stays.
 * CLEAN_ROOM: it takes more, and nothing was counted. */
static inline int clean_batch(cleaning *c, const unsigned char *batch, const batch_view *view, unsigned char *out, size_t room,
                              size_t *size) {
    const size_t whole = (size_t)(view->end - batch);
    const int has_horizon = !!(view->attributes & BATCH_DELETE_HORIZON);
    kept_records found;
    int problem, is_changed = 1;
    if (view->attributes & BATCH_CONTROL || view->base_offset >= c->map_end_offset) {
        *size = whole;
        if (room < whole) return CLEAN_ROOM;
        memcpy(out, batch, whole);
        c->records_read += view->count;
        c->records_kept += view->count;
        return CLEAN_SOUND;
    }
    if ((problem = judge_records(c, view, &found))) return problem;
    if (!found.kept) {
        int stays = is_last_of_producer(c, batch, view->last_offset) || view->last_offset + 1 == c->end_offset;
        *size = stays ? BATCH_HEADER_BYTES : 0;
        if (room < *size) return CLEAN_ROOM;
        if (stays) put_empty_batch(out, batch);
        is_changed = !stays || view->count;
    } else if (found.kept == view->count && !found.sets_horizon) {
        *size = whole;
        if (room < whole) return CLEAN_ROOM;
        memcpy(out, batch, whole);
        is_changed = 0;
    } else {
        *size = kept_bytes(c, view, &found);
        if (*size > INT32_MAX) return CLEAN_GROWN;
        if (room < *size) return CLEAN_ROOM;
        put_kept(c, batch, view, &found, out);
    }
    if (found.tombstones && (has_horizon || found.sets_horizon) && found.base_timestamp > c->delete_horizon_ms)
        c->delete_horizon_ms = found.base_timestamp;
    c->records_read += view->count;
    c->records_kept += found.kept;
    c->tombstones_kept += found.tombstones;
    c->tombstones_dropped += found.dropped_tombstones;
    c->keyless_dropped += found.dropped_keyless;
    c->batches_changed += is_changed;
    return CLEAN_SOUND;
}

#endif
