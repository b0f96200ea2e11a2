/* From batch to batch in a piece of the log: what every decoder checks before it looks at the records of one. */
#ifndef SHMLOG_BATCH_WALK_H
#define SHMLOG_BATCH_WALK_H

#include "batch.h"
#include "crc32c.h"

typedef struct {
    const unsigned char *records, *end;
    int64_t base_offset, last_offset, base_timestamp, max_timestamp;
    uint32_t count, attributes;
    int32_t leader_epoch;
} batch_view;

/* WALK_BATCH: `view` is a batch with records to decode. WALK_PASS: one without, to step over. WALK_END: the batch is not
 * whole, or at the limit. The rest says what is wrong. */
enum {
    WALK_BATCH = 0, WALK_PASS, WALK_END, WALK_LENGTH, WALK_FORMAT, WALK_CHECKSUM, WALK_CODEC,
    WALK_RECORD, WALK_TRAILING /* what a decoder finds among the records */
};

/* Look at the batch at `batch`, behind which the piece ends at `end`, at least a header away. `first`: nothing lies
 * before it, so that a batch that is not whole is one that never will be. */
static inline int look_at_batch(const unsigned char *batch, const unsigned char *end, int64_t from_offset,
                                int64_t limit_offset, int check_crcs, int first, batch_view *view) {
    uint32_t length = be32(batch + BATCH_LENGTH);
    view->base_offset = (int64_t)be64(batch);
    if (length < BATCH_HEADER_BYTES - BATCH_LENGTH_FROM) return WALK_LENGTH;
    if (length > (size_t)(end - batch) - BATCH_LENGTH_FROM) return first ? WALK_LENGTH : WALK_END;
    if (view->base_offset >= limit_offset) return WALK_END;
    view->records = batch + BATCH_HEADER_BYTES;
    view->end = batch + BATCH_LENGTH_FROM + length;
    if (batch[BATCH_MAGIC] != 2) return WALK_FORMAT;
    if (check_crcs &&
        crc32c(0, batch + BATCH_CRC_FROM, (size_t)(view->end - batch) - BATCH_CRC_FROM) != be32(batch + BATCH_CRC))
        return WALK_CHECKSUM;
    view->last_offset = view->base_offset + (int32_t)be32(batch + BATCH_LAST_DELTA);
    view->leader_epoch = (int32_t)be32(batch + BATCH_LEADER_EPOCH);
    view->attributes = be16(batch + BATCH_ATTRIBUTES);
    if (view->attributes & BATCH_CONTROL || view->last_offset < from_offset) return WALK_PASS;
    if (view->attributes & BATCH_CODEC_MASK) return WALK_CODEC;
    view->count = be32(batch + BATCH_COUNT);
    view->base_timestamp = (int64_t)be64(batch + BATCH_BASE_TIMESTAMP);
    view->max_timestamp = (int64_t)be64(batch + BATCH_MAX_TIMESTAMP);
    return WALK_BATCH;
}

static inline int64_t record_timestamp(const batch_view *view, const record_fields *record) {
    return view->attributes & BATCH_LOG_APPEND_TIME ? view->max_timestamp
                                                    : (int64_t)((uint64_t)view->base_timestamp + (uint64_t)record->timestamp_delta);
}

/* The most records that the whole batches of a piece can hold, by their lengths and counts. */
static inline int64_t records_at_most(const unsigned char *batch, const unsigned char *end) {
    int64_t records = 0;
    while (end - batch >= BATCH_HEADER_BYTES) {
        uint32_t length = be32(batch + BATCH_LENGTH), count = be32(batch + BATCH_COUNT), fit;
        if (length < BATCH_HEADER_BYTES - BATCH_LENGTH_FROM || length > (size_t)(end - batch) - BATCH_LENGTH_FROM) break;
        fit = (length + BATCH_LENGTH_FROM - BATCH_HEADER_BYTES) / RECORD_BYTES_MIN;
        records += count < fit ? count : fit;
        batch += BATCH_LENGTH_FROM + length;
    }
    return records;
}

#endif
