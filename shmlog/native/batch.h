/* The bytes of a v2 record batch: big-endian header fields and zigzag varints (Kafka's RecordBatch, KIP-98). */
#ifndef SHMLOG_BATCH_H
#define SHMLOG_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BATCH_HEADER_BYTES     61
#define BATCH_BASE_OFFSET       0
#define BATCH_LENGTH            8   /* bytes after this field */
#define BATCH_LENGTH_FROM      12   /* where those bytes begin */
#define BATCH_LEADER_EPOCH     12
#define BATCH_MAGIC            16
#define BATCH_CRC              17
#define BATCH_CRC_FROM         21
#define BATCH_ATTRIBUTES       21
#define BATCH_LAST_DELTA       23
#define BATCH_BASE_TIMESTAMP   27
#define BATCH_MAX_TIMESTAMP    35
#define BATCH_PRODUCER_ID      43
#define BATCH_PRODUCER_EPOCH   51
#define BATCH_BASE_SEQUENCE    53
#define BATCH_COUNT            57

#define RECORD_BYTES_MIN        7   /* length, attributes, two deltas, lengths of key and value, count of headers: a byte each */

#define BATCH_CODEC_MASK        0x07
#define BATCH_LOG_APPEND_TIME   0x08
#define BATCH_TRANSACTIONAL     0x10
#define BATCH_CONTROL           0x20
#define BATCH_DELETE_HORIZON    0x40

static inline uint16_t be16(const unsigned char *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t be32(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint64_t be64(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline void put_be16(unsigned char *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }
static inline void put_be32(unsigned char *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
static inline void put_be64(unsigned char *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }

static inline uint64_t zigzag(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }

static inline size_t varint_bytes(uint64_t z) {
    size_t bits = 64 - (size_t)__builtin_clzll(z | 1);
    return (bits * 9 + 64) >> 6; /* bits / 7, rounded up, for 1 to 64 */
}

static inline unsigned char *put_varint(unsigned char *p, uint64_t z) {
    if (z < 0x80) { *p = (unsigned char)z; return p + 1; }
    if (z < 0x4000) { p[0] = (unsigned char)(z | 0x80); p[1] = (unsigned char)(z >> 7); return p + 2; }
    while (z >= 0x80) { *p++ = (unsigned char)(z | 0x80); z >>= 7; }
    *p++ = (unsigned char)z;
    return p;
}

/* Decodes one zigzag varint; returns the byte after it, or NULL when it does not end before `end` or is too long. */
static inline const unsigned char *get_varint(const unsigned char *p, const unsigned char *end, int64_t *value) {
    uint64_t z = 0;
    int shift = 0;
    if (p < end && !(*p & 0x80)) { *value = (int64_t)(*p >> 1) ^ -(int64_t)(*p & 1); return p + 1; }
    if (end - p >= 2 && !(p[1] & 0x80)) {
        z = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
        *value = (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
        return p + 2;
    }
    while (p < end && shift < 64) {
        unsigned char byte = *p++;
        z |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) { *value = (int64_t)(z >> 1) ^ -(int64_t)(z & 1); return p; }
        shift += 7;
    }
    return NULL;
}

typedef struct {
    int64_t timestamp_delta, offset_delta;
    const unsigned char *key, *value, *headers, *end;
    int64_t key_length, value_length, header_count; /* lengths of -1: null */
} record_fields;

/* Decodes one record up to its headers, which are checked when they are read. Returns the byte after the record, or
 * NULL when its structure is wrong. */
static inline const unsigned char *get_record(const unsigned char *p, const unsigned char *end, record_fields *r) {
    int64_t length;
    p = get_varint(p, end, &length);
    if (!p || length < 1 || length > end - p) return NULL;
    end = p + length;
    p++; /* attributes: unused */
    if (!(p = get_varint(p, end, &r->timestamp_delta))) return NULL;
    if (!(p = get_varint(p, end, &r->offset_delta))) return NULL;
    if (!(p = get_varint(p, end, &r->key_length))) return NULL;
    if (r->key_length < -1 || r->key_length > end - p) return NULL;
    r->key = p;
    if (r->key_length > 0) p += r->key_length;
    if (!(p = get_varint(p, end, &r->value_length))) return NULL;
    if (r->value_length < -1 || r->value_length > end - p) return NULL;
    r->value = p;
    if (r->value_length > 0) p += r->value_length;
    if (!(p = get_varint(p, end, &r->header_count))) return NULL;
    if (r->header_count < 0 || r->header_count > (end - p) / 2) return NULL;
    r->headers = p;
    r->end = end;
    if (r->header_count == 0 && p != end) return NULL;
    return end;
}

/* Do the headers of a record fill what the record leaves for them? */
static inline int headers_fill(const record_fields *r) {
    const unsigned char *p = r->headers;
    int64_t length;
    for (int64_t k = 0; k < r->header_count; k++) {
        if (!(p = get_varint(p, r->end, &length)) || length < 0 || length > r->end - p) return 0;
        if (!(p = get_varint(p + length, r->end, &length)) || length < -1 || length > r->end - p) return 0;
        if (length > 0) p += length;
    }
    return p == r->end;
}

/* What is seen of a batch's records in passing: the bounds of their times, from its base timestamp on; a key that is null. */
typedef struct { int64_t earliest_delta, latest_delta; int lacks_key; } records_seen;

/* Do exactly `count` whole records with the offsets 0, 1, .. fill [p, end)? Consumers believe what the owner signs: an
 * offset that lies would make them skip other producers' records, and a length that lies would stop them for good. */
static inline int records_fill(const unsigned char *p, const unsigned char *end, uint32_t count, records_seen *seen) {
    record_fields r;
    int64_t earliest = INT64_MAX, latest = INT64_MIN, key_lengths = 0; /* a null key's is the only one below 0 */
    for (uint32_t k = 0; k < count; k++) {
        p = get_record(p, end, &r);
        if (!p || r.offset_delta != (int64_t)k || !headers_fill(&r)) return 0;
        earliest = r.timestamp_delta < earliest ? r.timestamp_delta : earliest;
        latest = r.timestamp_delta > latest ? r.timestamp_delta : latest;
        key_lengths |= r.key_length;
    }
    seen->earliest_delta = earliest;
    seen->latest_delta = latest;
    seen->lacks_key = key_lengths < 0;
    return p == end;
}

#endif
