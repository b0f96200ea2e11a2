/* What the segment writer needs to know of a v2 batch: the fields of the header in host order.
 * Plain private memory only: shared accesses live in access.h.
 */
#ifndef SHMLOG_SEGMENT_FORMAT_H
#define SHMLOG_SEGMENT_FORMAT_H

#include <stdint.h>
#include <string.h>

#define BATCH_HEADER_BYTES 61
#define BATCH_LENGTH_START 12      /* the length field counts the bytes after itself */
#define OFFSET_INDEX_ENTRY_BYTES 8
#define TIME_INDEX_ENTRY_BYTES 12

static inline int64_t be64_load(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return (int64_t)__builtin_bswap64(v); }
static inline int32_t be32_load(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return (int32_t)__builtin_bswap32(v); }
static inline void be64_store(unsigned char *p, int64_t v) { uint64_t u = __builtin_bswap64((uint64_t)v); memcpy(p, &u, 8); }
static inline void be32_store(unsigned char *p, int32_t v) { uint32_t u = __builtin_bswap32((uint32_t)v); memcpy(p, &u, 4); }

static inline int64_t batch_base_offset(const unsigned char *p) { return be64_load(p); }
static inline int64_t batch_size_bytes(const unsigned char *p) { return (int64_t)be32_load(p + 8) + BATCH_LENGTH_START; }
static inline int batch_magic(const unsigned char *p) { return (int)(signed char)p[16]; }
/* wraps on hostile bytes instead of being undefined; callers compare it with the base offset */
static inline int64_t batch_last_offset(const unsigned char *p) { return (int64_t)((uint64_t)be64_load(p) + (uint64_t)(int64_t)be32_load(p + 23)); }
static inline int64_t batch_max_timestamp_ms(const unsigned char *p) { return be64_load(p + 35); }

static inline int batch_leader_epoch(const unsigned char *p) { return be32_load(p + 12); }
static inline uint32_t batch_crc(const unsigned char *p) { return (uint32_t)be32_load(p + 17); }
static inline int batch_last_offset_delta(const unsigned char *p) { return be32_load(p + 23); }
static inline int batch_record_count(const unsigned char *p) { return be32_load(p + 57); }

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "shmlog runs on little-endian machines only"
#endif

#endif
