/* What the pure parts of the core must give on every processor, whatever it is compiled for. */
#ifndef SHMLOG_KNOWN_ANSWERS_H
#define SHMLOG_KNOWN_ANSWERS_H

#include <stdio.h>
#include <stdlib.h>

#include "batch.h"
#include "crc32c.h"
#include "encode.h"
#include "layout.h"
#include "murmur2.h"
#include "producers.h"
#include "segment_format.h"

#define REQUIRE(claim)                                                       \
    do {                                                                     \
        if (!(claim)) {                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void checksums_are_right_and_alike(void) {
    static unsigned char data[3 * CRC32C_LONG * 2 + 64];
    uint64_t random = 88172645463325252u;
    for (size_t k = 0; k < sizeof data; k++) data[k] = (unsigned char)next_random(&random);
    REQUIRE(crc32c(0, "123456789", 9) == UINT32_C(0xE3069283));
    REQUIRE(~crc32c_portable_raw(~UINT32_C(0), (const unsigned char *)"123456789", 9) == UINT32_C(0xE3069283));
    for (int k = 0; k < 400; k++) {
        size_t from = next_random(&random) % 64, length = next_random(&random) % (sizeof data - from);
        size_t cut = length ? next_random(&random) % length : 0;
        uint32_t whole = crc32c(0, data + from, length);
        REQUIRE(whole == ~crc32c_portable_raw(~UINT32_C(0), data + from, length));
        REQUIRE(whole == crc32c(crc32c(0, data + from, cut), data + from + cut, length - cut));
    }
}

/* Kafka's own vectors (clients, UtilsTest.testMurmur2). */
static void keys_hash_as_kafka_hashes_them(void) {
    static const struct { const char *key; int32_t hash; } known[] = {
        {"21", -973932308}, {"foobar", -790332482}, {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829}, {"abc", 479470107},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        REQUIRE((int32_t)murmur2((const unsigned char *)known[k].key, strlen(known[k].key)) == known[k].hash);
}

static void varints_come_back(void) {
    static const int64_t values[] = {0, -1, 1, 63, 64, -64, -65, 8191, 8192, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    unsigned char bytes[10];
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        int64_t found = 0;
        const unsigned char *end = put_varint(bytes, zigzag(values[k]));
        REQUIRE((size_t)(end - bytes) == varint_bytes(zigzag(values[k])));
        REQUIRE(get_varint(bytes, end, &found) == end && found == values[k]);
        REQUIRE(get_varint(bytes, end - 1, &found) == NULL);
    }
}

/* A record with key "k", value "value", no headers, 300 ms and 2 records after the batch's first. */
static void a_record_has_kafkas_bytes(void) {
    static const unsigned char known[] = {26, 0, 0xd8, 0x04, 4, 2, 'k', 10, 'v', 'a', 'l', 'u', 'e', 0};
    unsigned char bytes[64];
    record_fields fields;
    uint64_t body = record_body_bytes(300, 2, 1, 5, 0, 0);
    unsigned char *end = put_record(bytes, body, 300, 2, (const unsigned char *)"k", 1, (const unsigned char *)"value", 5, 0);
    REQUIRE(body == 13 && (size_t)(end - bytes) == sizeof known && memcmp(bytes, known, sizeof known) == 0);
    REQUIRE(get_record(bytes, end, &fields) == end);
    REQUIRE(fields.timestamp_delta == 300 && fields.offset_delta == 2 && fields.value_length == 5 && fields.value[4] == 'e');
}

static void the_hand_off_word_keeps_its_fields(void) {
    uint64_t far = (UINT64_C(1) << 40) + 8 * 12345;
    uint64_t word = open_word(far, 1, OPEN_END_MASK, OPEN_COUNT_MASK);
    REQUIRE(open_closed(word) && open_end(word) == OPEN_END_MASK && open_count(word) == OPEN_COUNT_MASK);
    REQUIRE(open_distance(word, far) == 0 && open_distance(word, far - 64) == 64 && open_distance(word, far + 64) == -64);
    REQUIRE(!open_closed(open_word(far, 0, 1, 1)));
}

static void producers_are_judged_by_kafkas_rules(void) {
    producer_table table = {NULL, 0, 0, 0};
    int64_t first = -1;
    REQUIRE(producer_check(producer_find(&table, 9), 0, 0, 3, &first) == PRODUCER_NEW);
    producer_append(producer_entry_of(&table, 9), 0, 0, 3, 100, 0);
    REQUIRE(producer_check(producer_find(&table, 9), 0, 0, 3, &first) == PRODUCER_DUPLICATE && first == 100);
    REQUIRE(producer_check(producer_find(&table, 9), 0, 3, 1, &first) == PRODUCER_NEW);
    REQUIRE(producer_check(producer_find(&table, 9), 0, 4, 1, &first) == PRODUCER_GAP);
    REQUIRE(producer_check(producer_find(&table, 9), 1, 0, 1, &first) == PRODUCER_NEW);
    producer_append(producer_entry_of(&table, 9), 1, 0, 1, 103, 0);
    REQUIRE(producer_check(producer_find(&table, 9), 0, 3, 1, &first) == PRODUCER_FENCED);
    free(table.entries);
}

/* Sizes and places that other processes, and files, rely on. */
_Static_assert(sizeof(producer_entry) == 128 && BATCH_HEADER_BYTES == 61 && IDX_ENTRY_BYTES == 64 && FRAME_BYTES == 64, "sizes");
_Static_assert(CTL_SIZE == 0x55000 && LANE_DATA == 0x1000 && CTL_LANES == 0x1000 && CTL_IMAGES == 0x11000, "places");
_Static_assert(CTL_INTENT_POS / SHM_LINE != CTL_TAIL_POS / SHM_LINE && LANE_OPEN / SHM_LINE != LANE_HEAD / SHM_LINE, "lines");
_Static_assert(BELL_DOORBELL / SHM_LINE != BELL_SLEEPING / SHM_LINE && LANE_OPEN % 8 == 0 && CTL_HW_POS % 8 == 0, "alignment");

static void know_the_answers(void) {
    checksums_are_right_and_alike();
    keys_hash_as_kafka_hashes_them();
    varints_come_back();
    a_record_has_kafkas_bytes();
    the_hand_off_word_keeps_its_fields();
    producers_are_judged_by_kafkas_rules();
}

#endif
