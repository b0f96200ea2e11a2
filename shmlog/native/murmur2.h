/* murmur2, 32 bits, seed 0x9747b28c: the hash of Kafka's default partitioner (Austin Appleby, public domain). */
#ifndef SHMLOG_MURMUR2_H
#define SHMLOG_MURMUR2_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t murmur2(const unsigned char *data, size_t length) {
    const uint32_t m = 0x5bd1e995;
    uint32_t h = UINT32_C(0x9747b28c) ^ (uint32_t)length;
    size_t blocks = length / 4;
    for (size_t i = 0; i < blocks; i++) {
        uint32_t k;
        memcpy(&k, data + 4 * i, 4);
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    const unsigned char *rest = data + 4 * blocks;
    switch (length & 3) {
        case 3: h ^= (uint32_t)rest[2] << 16; /* fall through */
        case 2: h ^= (uint32_t)rest[1] << 8;  /* fall through */
        case 1: h ^= rest[0]; h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}

#endif
