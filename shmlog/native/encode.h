/* Encoding one record where it will be read: into a lane. The same bytes as a record of a v2 batch. */
#ifndef SHMLOG_ENCODE_H
#define SHMLOG_ENCODE_H

#include "access.h"
#include "batch.h"

/* Bytes of the record behind its length prefix; `header_bytes` are encoded headers without their count. */
static inline uint64_t record_body_bytes(int64_t timestamp_delta, uint32_t index, int64_t key_length, int64_t value_length,
                                         uint32_t header_count, uint64_t header_bytes) {
    return 1 + varint_bytes(zigzag(timestamp_delta)) + varint_bytes(zigzag(index)) + varint_bytes(zigzag(key_length)) +
           (uint64_t)(key_length > 0 ? key_length : 0) + varint_bytes(zigzag(value_length)) +
           (uint64_t)(value_length > 0 ? value_length : 0) + varint_bytes(zigzag(header_count)) + header_bytes;
}

/* Writes a record up to and with its header count; returns where the headers go. */
static inline unsigned char *put_record(unsigned char *p, uint64_t body_bytes, int64_t timestamp_delta, uint32_t index,
                                        const unsigned char *key, int64_t key_length, const unsigned char *value,
                                        int64_t value_length, uint32_t header_count) {
    SHM_STORE_POINT();
    p = put_varint(p, zigzag((int64_t)body_bytes));
    *p++ = 0;
    p = put_varint(p, zigzag(timestamp_delta));
    p = put_varint(p, zigzag(index));
    p = put_varint(p, zigzag(key_length));
    if (key_length > 0) { shm_copy_in(p, key, (size_t)key_length); p += key_length; }
    p = put_varint(p, zigzag(value_length));
    if (value_length > 0) { shm_copy_in(p, value, (size_t)value_length); p += value_length; }
    return put_varint(p, zigzag(header_count));
}

#endif
