/* CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected): what Kafka's v2 batches carry.
 *
 * SSE4.2 and ARMv8 have an instruction with a latency of three cycles and a throughput of one, so long inputs are cut
 * into three streams whose checksums are joined afterwards (Gopal et al., "Fast CRC Computation for iSCSI Polynomial
 * Using CRC32 Instruction", Intel 2011). The join multiplies by x^(8n) modulo the polynomial through small tables that
 * are computed at start-up. Anything else gets slicing-by-8. crc32c("123456789") = 0xE3069283.
 */
#ifndef SHMLOG_CRC32C_H
#define SHMLOG_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CRC32C_POLY UINT32_C(0x82F63B78)
#define CRC32C_LONG 2048
#define CRC32C_SHORT 256

static uint32_t crc32c_table[8][256];
static uint32_t crc32c_shift_long[4][256];
static uint32_t crc32c_shift_short[4][256];

static uint32_t crc32c_portable_raw(uint32_t crc, const unsigned char *p, size_t n) {
    while (n && ((uintptr_t)p & 7)) { crc = crc32c_table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8); n--; }
    while (n >= 8) {
        uint32_t lo = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = crc32c_table[7][lo & 0xff] ^ crc32c_table[6][(lo >> 8) & 0xff] ^ crc32c_table[5][(lo >> 16) & 0xff] ^
              crc32c_table[4][lo >> 24] ^ crc32c_table[3][p[4]] ^ crc32c_table[2][p[5]] ^ crc32c_table[1][p[6]] ^
              crc32c_table[0][p[7]];
        p += 8;
        n -= 8;
    }
    while (n--) crc = crc32c_table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return crc;
}

/* a * b modulo the polynomial, both reflected */
static uint32_t crc32c_multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = (b & 1) ? (b >> 1) ^ CRC32C_POLY : b >> 1;
    }
    return product;
}

/* tables that append n zero bytes to a checksum */
static void crc32c_shift_table(uint32_t table[4][256], size_t n) {
    uint32_t power = UINT32_C(1) << 31, square = UINT32_C(1) << 23; /* x^0, x^8 */
    for (; n; n >>= 1) {
        if (n & 1) power = crc32c_multiply(power, square);
        square = crc32c_multiply(square, square);
    }
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t v = 0; v < 256; v++) table[byte][v] = crc32c_multiply(power, v << (8 * byte));
}

static inline uint32_t crc32c_shift(uint32_t table[4][256], uint32_t crc) {
    return table[0][crc & 0xff] ^ table[1][(crc >> 8) & 0xff] ^ table[2][(crc >> 16) & 0xff] ^ table[3][crc >> 24];
}

#if defined(__x86_64__)
#define CRC32C_TARGET __attribute__((target("sse4.2")))
#define CRC32C_STEP8(crc, word) __builtin_ia32_crc32di((crc), (word))
#define CRC32C_STEP1(crc, byte) __builtin_ia32_crc32qi((uint32_t)(crc), (byte))
static int crc32c_has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#define CRC32C_TARGET __attribute__((target("+crc")))
#define CRC32C_STEP8(crc, word) __builtin_aarch64_crc32cx((uint32_t)(crc), (word))
#define CRC32C_STEP1(crc, byte) __builtin_aarch64_crc32cb((uint32_t)(crc), (byte))
static int crc32c_has_instruction(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

#ifdef CRC32C_TARGET
static inline uint64_t crc32c_word(const unsigned char *p) { uint64_t w; memcpy(&w, p, 8); return w; }

#define CRC32C_THREE_STREAMS(BLOCK, TABLE)                                              \
    while (n >= 3 * BLOCK) {                                                            \
        uint64_t b = 0, c = 0;                                                          \
        for (const unsigned char *end = p + BLOCK; p < end; p += 8) {                   \
            crc = CRC32C_STEP8(crc, crc32c_word(p));                                    \
            b = CRC32C_STEP8(b, crc32c_word(p + BLOCK));                                \
            c = CRC32C_STEP8(c, crc32c_word(p + 2 * BLOCK));                            \
        }                                                                               \
        crc = crc32c_shift(TABLE, (uint32_t)crc) ^ b;                                   \
        crc = crc32c_shift(TABLE, (uint32_t)crc) ^ c;                                   \
        p += 2 * BLOCK;                                                                 \
        n -= 3 * BLOCK;                                                                 \
    }

CRC32C_TARGET static uint32_t crc32c_instruction_raw(uint32_t start, const unsigned char *p, size_t n) {
    uint64_t crc = start;
    CRC32C_THREE_STREAMS(CRC32C_LONG, crc32c_shift_long)
    CRC32C_THREE_STREAMS(CRC32C_SHORT, crc32c_shift_short)
    while (n >= 8) { crc = CRC32C_STEP8(crc, crc32c_word(p)); p += 8; n -= 8; }
    while (n--) crc = CRC32C_STEP1(crc, *p++);
    return (uint32_t)crc;
}
#endif

static uint32_t (*crc32c_raw)(uint32_t, const unsigned char *, size_t);
static const char *crc32c_flavour;

__attribute__((constructor)) static void crc32c_init(void) {
    for (uint32_t v = 0; v < 256; v++) {
        uint32_t crc = v;
        for (int k = 0; k < 8; k++) crc = (crc & 1) ? (crc >> 1) ^ CRC32C_POLY : crc >> 1;
        crc32c_table[0][v] = crc;
    }
    for (uint32_t v = 0; v < 256; v++)
        for (int k = 1; k < 8; k++) crc32c_table[k][v] = crc32c_table[0][crc32c_table[k - 1][v] & 0xff] ^ (crc32c_table[k - 1][v] >> 8);
    crc32c_shift_table(crc32c_shift_long, CRC32C_LONG);
    crc32c_shift_table(crc32c_shift_short, CRC32C_SHORT);
    crc32c_raw = crc32c_portable_raw;
    crc32c_flavour = "portable";
#ifdef CRC32C_TARGET
    if (crc32c_has_instruction()) { crc32c_raw = crc32c_instruction_raw; crc32c_flavour = "instruction"; }
#endif
}

/* Checksum of n bytes; pass an earlier result as crc to go on from there, 0 to begin. */
static inline uint32_t crc32c(uint32_t crc, const void *p, size_t n) {
    return ~crc32c_raw(~crc, (const unsigned char *)p, n);
}

#endif
