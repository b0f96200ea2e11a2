/* Making a batch out of what a lane holds: the owner's copy of the records behind a header of 61 bytes. */
#ifndef SHMLOG_ASSEMBLE_H
#define SHMLOG_ASSEMBLE_H

#include "access.h"
#include "batch.h"
#include "crc32c.h"
#include "handoff.h"

/* What a topic makes of the records of a group: appended at `append_ms`, with times from `earliest_ms` to `latest_ms`. */
typedef struct { int64_t append_ms, earliest_ms, latest_ms; int log_append_time, needs_keys; } append_terms;

enum { ERROR_INVALID_TIMESTAMP = 32, ERROR_INVALID_RECORD = 87 };

/* What the frame of a batch says about the time of its records: 0, what their producer said; or when they were appended,
 * -1 if that is known from the log only. */
static inline uint64_t frame_append_ms(const append_terms *terms, int is_duplicate) {
    return !terms->log_append_time ? 0 : is_duplicate ? UINT64_MAX : (uint64_t)terms->append_ms;
}

static inline int64_t batch_max_timestamp(const unsigned char *batch) { return (int64_t)be64(batch + BATCH_MAX_TIMESTAMP); }

/* Writes the header in front of `length - BATCH_HEADER_BYTES` bytes of records, and the checksum over both. */
static inline void sign_batch(unsigned char *batch, uint32_t length, uint16_t attributes, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch, const append_terms *terms) {
    const unsigned char *frame = taken->frame;
    SHM_STORE_POINT();
    put_be64(batch, (uint64_t)offset);
    put_be32(batch + BATCH_LENGTH, length - BATCH_LENGTH_FROM);
    put_be32(batch + BATCH_LEADER_EPOCH, (uint32_t)epoch);
    batch[BATCH_MAGIC] = 2;
    put_be16(batch + BATCH_ATTRIBUTES, terms->log_append_time ? attributes | BATCH_LOG_APPEND_TIME : attributes);
    put_be32(batch + BATCH_LAST_DELTA, taken->count - 1);
    put_be64(batch + BATCH_BASE_TIMESTAMP, shm_load_relaxed(frame + FRAME_BASE_TIMESTAMP));
    put_be64(batch + BATCH_MAX_TIMESTAMP, terms->log_append_time ? (uint64_t)terms->append_ms
                                          : shm_load_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * ((taken->count - 1) & 1)));
    put_be64(batch + BATCH_PRODUCER_ID, (uint64_t)lane->producer_id);
    put_be16(batch + BATCH_PRODUCER_EPOCH, (uint16_t)lane->producer_epoch);
    put_be32(batch + BATCH_BASE_SEQUENCE, (uint32_t)taken->sequence);
    put_be32(batch + BATCH_COUNT, taken->count);
    SHM_STORE_POINT();
    put_be32(batch + BATCH_CRC, crc32c(0, batch + BATCH_CRC_FROM, length - BATCH_CRC_FROM));
}

/* Copies the records of a taken batch behind room for the header and writes the header. The structure is checked, and
 * the checksum computed, on the copy: the lane may change under the owner's hands if its producer is broken. Returns 0
 * when the bytes are not `taken->count` records. */
static inline int assemble_batch(unsigned char *batch, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch, const append_terms *terms, records_seen *seen) {
    uint32_t length = taken->end - FRAME_BYTES + BATCH_HEADER_BYTES;
    shm_copy_in(batch + BATCH_HEADER_BYTES, taken->frame + FRAME_BYTES, taken->end - FRAME_BYTES);
    if (!records_fill(batch + BATCH_HEADER_BYTES, batch + length, taken->count, seen)) return 0;
    sign_batch(batch, length, 0, taken, lane, offset, epoch, terms);
    return 1;
}

/* The same for records that lie in the owner's own memory, checked, and compressed as `codec` says. */
static inline void assemble_packed(unsigned char *batch, const unsigned char *records, uint32_t size, uint16_t codec, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch, const append_terms *terms) {
    shm_copy_in(batch + BATCH_HEADER_BYTES, records, size);
    sign_batch(batch, size + BATCH_HEADER_BYTES, codec, taken, lane, offset, epoch, terms);
}

/* The error that a batch is refused with, 0: none. What is looked at is the owner's copy, header and records. */
static inline uint32_t batch_refusal(const unsigned char *batch, const records_seen *seen, const append_terms *terms) {
    int64_t base = (int64_t)be64(batch + BATCH_BASE_TIMESTAMP), earliest, latest;
    if (terms->needs_keys && seen->lacks_key) return ERROR_INVALID_RECORD;
    if (terms->log_append_time) return 0;
    if (__builtin_add_overflow(base, seen->earliest_delta, &earliest) || earliest < terms->earliest_ms ||
        __builtin_add_overflow(base, seen->latest_delta, &latest) || latest > terms->latest_ms ||
        batch_max_timestamp(batch) > terms->latest_ms)
        return ERROR_INVALID_TIMESTAMP;
    return 0;
}

#endif
