/* A partition in threads: a producer, its owner, a quick and a slow reader, over the core's headers.
 *
 * What the Cython modules do around those headers is mirrored here, function by function; the names say of whom. Every
 * record is a number, repeated to a length that the number gives, so that a byte of another record shows.
 */
#ifndef SHMLOG_PARTITION_H
#define SHMLOG_PARTITION_H

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>

/* Before every shared store, now and then, the other threads get a turn: races that are rare become common. */
static __thread uint32_t step_aside_state = 1;
static inline void step_aside(void) {
    step_aside_state = step_aside_state * 1664525 + 1013904223;
    if (step_aside_state >> 27 == 0) sched_yield();
}
#define SHM_STORE_POINT() step_aside()

#include "assemble.h"
#include "futex.h"
#include "known_answers.h"

#define LANE_BYTES    16384
#define RING_BYTES    16384
#define FRAME_MAX     1024
#define GROUP_BYTES   2048
#define PIECE_BYTES   512
#define PATIENCE_NS   INT64_C(20000000000)  /* no wait is that long unless a wake-up was lost */

typedef struct {
    unsigned char *lane, *ring, *ctl, *owner_bell, *reader_bell;
    uint32_t records;
    uint64_t quick_batches, quick_lags, slow_batches, slow_lags, owner_sleeps, reader_sleeps;
} partition;

/* `fixed` bytes, then `doubled` bytes that are mapped twice in a row. */
static unsigned char *map_region(size_t fixed, size_t doubled) {
    int fd = memfd_create("shmlog-test", 0);
    unsigned char *base = mmap(NULL, fixed + 2 * doubled, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(fd >= 0 && base != MAP_FAILED && ftruncate(fd, (off_t)(fixed + doubled)) == 0);
    REQUIRE(mmap(base, fixed + doubled, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    if (doubled)
        REQUIRE(mmap(base + fixed + doubled, doubled, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)fixed) != MAP_FAILED);
    close(fd);
    return base;
}

/* Doorbell.prepare: the ticket for futex_wait_until. */
static uint32_t bell_prepare(unsigned char *bell) {
    uint32_t ticket = shm_load32_acquire(bell + BELL_DOORBELL);
    shm_store32_relaxed(bell + BELL_SLEEPING, 1);
    shm_fence_seq_cst();
    return ticket;
}

static void bell_sleep(unsigned char *bell, uint32_t ticket) {
    int64_t deadline = monotonic_ns() + PATIENCE_NS;
    REQUIRE(futex_wait_until(bell + BELL_DOORBELL, ticket, deadline) != ETIMEDOUT); /* else somebody slept past news */
    shm_store32_relaxed(bell + BELL_SLEEPING, 0);
}

static uint32_t record_bytes(uint32_t number) { return 8 + number * 2654435761u % 120; }

/* --- LaneWriter: append, _close_frame, reclaim, seal -------------------------------------------------------------- */

typedef struct { uint64_t start, free, word; uint32_t end, count; unsigned char *frame; } lane_writer;

static unsigned char *encode(unsigned char *at, uint32_t number, uint32_t index, uint32_t base) {
    unsigned char value[256];
    uint32_t length = record_bytes(number);
    for (uint32_t k = 0; k < length; k++) value[k] = (unsigned char)(number >> 8 * (k & 3));
    return put_record(at, record_body_bytes(number - base, index, -1, length, 0, 0), number - base, index, NULL, -1, value, length, 0);
}

static void close_frame(lane_writer *lane) {
    if (!lane->count) return;
    shm_store32_relaxed(lane->frame + FRAME_LENGTH, lane->end);
    shm_store32_relaxed(lane->frame + FRAME_COUNT, lane->count);
    lane->start += frame_span(lane->end);
    lane->end = lane->count = 0;
}

static void store_word(partition *p, lane_writer *lane, uint64_t word) {
    lane->word = word;
    shm_store_release(p->lane + LANE_OPEN, word);
    shm_fence_seq_cst();
    bell_ring_if_sleeping(p->owner_bell);
}

static void reclaim(partition *p, lane_writer *lane, uint64_t need) {
    while (lane->start + need + 8 - lane->free > LANE_BYTES) {
        uint64_t head = shm_load_acquire(p->lane + LANE_HEAD);
        for (; lane->free < head;) {
            unsigned char *frame = p->lane + LANE_DATA + lane->free % LANE_BYTES;
            REQUIRE(shm_load32_relaxed(frame + FRAME_STATUS) == FRAME_STATUS_APPENDED);
            lane->free += frame_span(shm_load32_relaxed(frame + FRAME_LENGTH));
        }
        if (lane->start + need + 8 - lane->free > LANE_BYTES) sched_yield();
    }
}

static void *produce(void *of) {
    partition *p = of;
    lane_writer lane = {.word = shm_load_acquire(p->lane + LANE_OPEN)};
    uint32_t base = 0;
    for (uint32_t number = 0; number < p->records; number++) {
        if (lane.count && lane.end + 160 <= FRAME_MAX && lane.start + lane.end + 160 + 8 - lane.free <= LANE_BYTES) {
            uint32_t end = (uint32_t)(encode(lane.frame + lane.end, number, lane.count, base) - lane.frame);
            shm_store_relaxed(lane.frame + FRAME_MAX_TIMESTAMP + 8 * (lane.count & 1), number);
            uint64_t word = open_word(lane.start, 0, end, lane.count + 1);
            if (shm_cas_release(p->lane + LANE_OPEN, lane.word, word)) {
                lane.word = word;
                lane.end = end;
                lane.count++;
                continue;
            }
        }
        close_frame(&lane);
        reclaim(p, &lane, FRAME_BYTES + 160);
        base = number;
        lane.frame = p->lane + LANE_DATA + lane.start % LANE_BYTES;
        memset(lane.frame, 0, FRAME_BYTES);
        shm_store_relaxed(lane.frame + FRAME_BASE_TIMESTAMP, number);
        shm_store_relaxed(lane.frame + FRAME_MAX_TIMESTAMP, number);
        lane.end = (uint32_t)(encode(lane.frame + FRAME_BYTES, number, 0, base) - lane.frame);
        lane.count = 1;
        store_word(p, &lane, open_word(lane.start, 0, lane.end, 1));
    }
    close_frame(&lane);
    store_word(p, &lane, open_word(lane.start, 1, 0, 0));
    return NULL;
}

/* --- Publisher: _gather, _append, _publish ------------------------------------------------------------------------ */

static uint64_t publish(partition *p, lane_reader *lane, const taken_batch *taken, uint64_t pos, int64_t offset) {
    uint32_t length = taken->end - FRAME_BYTES + BATCH_HEADER_BYTES;
    const append_terms any_record = {0, INT64_MIN, INT64_MAX, 0, 0};
    records_seen seen;
    if (shm_load_relaxed(p->ctl + CTL_INTENT_POS) < pos + taken->end) {
        shm_store_relaxed(p->ctl + CTL_INTENT_POS, pos + GROUP_BYTES);
        shm_fence_seq_cst();
    }
    REQUIRE(assemble_batch(p->ring + pos % RING_BYTES, taken, lane, offset, 1, &any_record, &seen));
    REQUIRE(!batch_refusal(p->ring + pos % RING_BYTES, &seen, &any_record));
    REQUIRE(batch_max_timestamp(p->ring + pos % RING_BYTES) == offset + taken->count - 1);
    shm_store_release(p->ctl + CTL_TAIL_POS, pos + length);
    shm_store_relaxed(taken->frame + FRAME_BASE_OFFSET, (uint64_t)offset);
    shm_store32_relaxed(taken->frame + FRAME_STATUS, FRAME_STATUS_APPENDED);
    lane_advance(lane, lane->cursor + frame_span(taken->end));
    shm_store_release(p->lane + LANE_HEAD, lane->cursor);
    shm_store_relaxed(p->ctl + CTL_HW_OFFSET, (uint64_t)offset + taken->count);
    shm_store_release(p->ctl + CTL_HW_POS, pos + length);
    shm_fence_seq_cst();
    bell_ring_if_sleeping(p->reader_bell);
    return pos + length;
}

static void *own(void *of) {
    partition *p = of;
    lane_reader lane = {.base = p->lane, .data_bytes = LANE_BYTES, .producer_id = 1, .max_frame = FRAME_MAX + 160};
    uint64_t pos = 0;
    uint32_t offset = 0;
    while (offset < p->records) {
        taken_batch taken = {0};
        int64_t now = monotonic_ns(), deadline = INT64_MAX;
        int got = lane_take(&lane, &taken, now, &deadline);
        REQUIRE(got != TAKE_GARBAGE);
        if (got == TAKE_BATCH) {
            REQUIRE(taken.from_word || shm_load32_relaxed(taken.frame + FRAME_COUNT) == taken.count);
            pos = publish(p, &lane, &taken, pos, offset);
            offset += taken.count;
        } else if (got == TAKE_NOTHING) {
            uint32_t ticket = bell_prepare(p->owner_bell);
            if (lane_has_work(&lane)) {
                shm_store32_relaxed(p->owner_bell + BELL_SLEEPING, 0);
            } else {
                p->owner_sleeps++;
                bell_sleep(p->owner_bell, ticket);
            }
        }
    }
    REQUIRE(offset == p->records);
    return NULL;
}

/* --- RingReader.read ---------------------------------------------------------------------------------------------- */

static int overrun(partition *p, uint64_t pos) {
    return (int64_t)(shm_load_relaxed(p->ctl + CTL_INTENT_POS) - pos - RING_BYTES) > 0;
}

/* A batch that the reader has accepted: whole, and with the records that belong there. Returns the offset behind it. */
static uint32_t judge(const unsigned char *batch, uint32_t length, int64_t expected) {
    const unsigned char *at = batch + BATCH_HEADER_BYTES;
    uint32_t base = (uint32_t)be64(batch), count = be32(batch + BATCH_COUNT);
    REQUIRE(crc32c(0, batch + BATCH_CRC_FROM, length - BATCH_CRC_FROM) == be32(batch + BATCH_CRC));
    REQUIRE(expected < 0 || base == expected);
    for (uint32_t k = 0; k < count; k++) {
        record_fields fields;
        REQUIRE((at = get_record(at, batch + length, &fields)) != NULL);
        REQUIRE(fields.offset_delta == k && fields.value_length == record_bytes(base + k));
        for (uint32_t n = 0; n < fields.value_length; n++) REQUIRE(fields.value[n] == (unsigned char)((base + k) >> 8 * (n & 3)));
    }
    REQUIRE(at == batch + length);
    return base + count;
}

/* A quick reader sleeps at the high watermark; a slow one is always about to be overrun, and yields while it copies. */
static void follow(partition *p, int is_slow, uint64_t *accepted, uint64_t *lagged) {
    unsigned char copy[RING_BYTES];
    uint64_t pos = 0;
    int64_t expected = 0;
    while (expected < p->records) {
        uint64_t limit = shm_load_acquire(p->ctl + CTL_HW_POS), whole = 0;
        if (is_slow && limit - pos < RING_BYTES - 3 * GROUP_BYTES && shm_load_relaxed(p->ctl + CTL_HW_OFFSET) < p->records) {
            sched_yield();
            continue;
        }
        if (limit == pos) {
            uint32_t ticket = bell_prepare(p->reader_bell);
            if (shm_load_acquire(p->ctl + CTL_HW_POS) != pos) {
                shm_store32_relaxed(p->reader_bell + BELL_SLEEPING, 0);
            } else {
                p->reader_sleeps++;
                bell_sleep(p->reader_bell, ticket);
            }
            continue;
        }
        int lags = limit - pos > RING_BYTES || overrun(p, pos);
        if (!lags) {
            for (uint64_t done = 0; done < limit - pos; done += PIECE_BYTES) {
                uint64_t piece = limit - pos - done < PIECE_BYTES ? limit - pos - done : PIECE_BYTES;
                shm_copy_out(copy + done, p->ring + pos % RING_BYTES + done, piece);
                if (is_slow) sched_yield();
            }
            shm_fence_acquire();
            lags = overrun(p, pos);
        }
        if (lags) { /* the files' turn, in the core; here it goes on where nothing is known of the offset */
            ++*lagged;
            pos = shm_load_acquire(p->ctl + CTL_HW_POS);
            expected = shm_load_relaxed(p->ctl + CTL_HW_OFFSET) >= p->records ? (int64_t)p->records : -1;
            continue;
        }
        for (; whole < limit - pos; ++*accepted) {
            uint32_t length = be32(copy + whole + BATCH_LENGTH) + BATCH_LENGTH_FROM;
            REQUIRE(length >= BATCH_HEADER_BYTES && length <= limit - pos - whole);
            expected = judge(copy + whole, length, expected);
            whole += length;
        }
        pos += whole;
    }
}

static void *read_quickly(void *of) {
    partition *p = of;
    follow(p, 0, &p->quick_batches, &p->quick_lags);
    return NULL;
}

static void *read_slowly(void *of) {
    partition *p = of;
    follow(p, 1, &p->slow_batches, &p->slow_lags);
    return NULL;
}

#endif
