/* Making a batch out of what a lane holds: the owner's copy of the records behind a header of 61 bytes. */
#ifndef SHMLOG_ASSEMBLE_H
#define SHMLOG_ASSEMBLE_H

#include "access.h"
#include "batch.h"
#include "crc32c.h"
#include "handoff.h"

static inline int64_t batch_max_timestamp(const unsigned char *batch) { return (int64_t)be64(batch + BATCH_MAX_TIMESTAMP); }

/* Writes the header in front of `length - BATCH_HEADER_BYTES` bytes of records, and the checksum over both. */
static inline void sign_batch(unsigned char *batch, uint32_t length, uint16_t attributes, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch) {
    const unsigned char *frame = taken->frame;
    SHM_STORE_POINT();
    put_be64(batch, (uint64_t)offset);
    put_be32(batch + BATCH_LENGTH, length - BATCH_LENGTH_FROM);
    put_be32(batch + BATCH_LEADER_EPOCH, (uint32_t)epoch);
    batch[BATCH_MAGIC] = 2;
    put_be16(batch + BATCH_ATTRIBUTES, attributes);
    put_be32(batch + BATCH_LAST_DELTA, taken->count - 1);
    put_be64(batch + BATCH_BASE_TIMESTAMP, shm_load_relaxed(frame + FRAME_BASE_TIMESTAMP));
    put_be64(batch + BATCH_MAX_TIMESTAMP, shm_load_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * ((taken->count - 1) & 1)));
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
static inline int assemble_batch(unsigned char *batch, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch) {
    uint32_t length = taken->end - FRAME_BYTES + BATCH_HEADER_BYTES;
    shm_copy_in(batch + BATCH_HEADER_BYTES, taken->frame + FRAME_BYTES, taken->end - FRAME_BYTES);
    if (!records_fill(batch + BATCH_HEADER_BYTES, batch + length, taken->count)) return 0;
    sign_batch(batch, length, 0, taken, lane, offset, epoch);
    return 1;
}

/* The same for records that lie in the owner's own memory, checked, and compressed as `codec` says. */
static inline void assemble_packed(unsigned char *batch, const unsigned char *records, uint32_t size, uint16_t codec, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch) {
    shm_copy_in(batch + BATCH_HEADER_BYTES, records, size);
    sign_batch(batch, size + BATCH_HEADER_BYTES, codec, taken, lane, offset, epoch);
}

#endif
