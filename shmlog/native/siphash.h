/* SipHash-2-4 with 128 bits of result (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012, and the extension of
 * its reference implementation): a hash that nobody can find collisions of who does not know its 16 bytes of key.
 */
#ifndef SHMLOG_SIPHASH_H
#define SHMLOG_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint64_t low, high; } hash128;

static inline uint64_t sip_rotate(uint64_t v, int bits) { return v << bits | v >> (64 - bits); }

static inline void sip_rounds(uint64_t v[4], int rounds) {
    while (rounds--) {
        v[0] += v[1]; v[2] += v[3];
        v[1] = sip_rotate(v[1], 13) ^ v[0];
        v[3] = sip_rotate(v[3], 16) ^ v[2];
        v[0] = sip_rotate(v[0], 32) + v[3];
        v[2] += v[1];
        v[3] = sip_rotate(v[3], 21) ^ v[0];
        v[1] = sip_rotate(v[1], 17) ^ v[2];
        v[2] = sip_rotate(v[2], 32);
    }
}

static inline hash128 siphash128(const unsigned char *p, size_t n, uint64_t key_low, uint64_t key_high) {
    uint64_t v[4] = {key_low ^ UINT64_C(0x736f6d6570736575), key_high ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
                     key_low ^ UINT64_C(0x6c7967656e657261), key_high ^ UINT64_C(0x7465646279746573)};
    uint64_t word, last = (uint64_t)n << 56;
    hash128 hash;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    for (size_t k = 0; k < n; k++) last |= (uint64_t)p[k] << 8 * k;
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xee;
    sip_rounds(v, 4);
    hash.low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    sip_rounds(v, 4);
    hash.high = v[0] ^ v[1] ^ v[2] ^ v[3];
    return hash;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "shmlog runs on little-endian machines only"
#endif

#endif
