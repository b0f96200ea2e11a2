/* Where everything lies in shared memory: the core's side of shmlog/memory/layout.py, which draws it.
 * tests/unit/test_layout.py compares every number here with its Python twin. Little-endian, u64 unless noted.
 */
#ifndef SHMLOG_LAYOUT_H
#define SHMLOG_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define SHM_LINE 128

/* ctl region: one per partition, written by its owner only */
#define CTL_RING_GENERATION   0x100
#define CTL_RING_CAPACITY     0x108
#define CTL_INDEX_ENTRIES     0x110
#define CTL_MAX_BATCH         0x118
#define CTL_BASE_OFFSET       0x120
#define CTL_BASE_POS          0x128
#define CTL_STATE             0x180
#define CTL_EPOCH             0x188
#define CTL_PID               0x190
#define CTL_START_TIME        0x198
#define CTL_HEARTBEAT_NS      0x1A0
#define CTL_INTENT_POS        0x200
#define CTL_TAIL_OFFSET       0x280
#define CTL_TAIL_POS          0x288
#define CTL_WRITTEN_OFFSET    0x300
#define CTL_WRITTEN_POS       0x308
#define CTL_SYNCED_OFFSET     0x380
#define CTL_SYNCED_POS        0x388
#define CTL_HW_OFFSET         0x400
#define CTL_HW_POS            0x408
#define CTL_TRACE_STRIDE      0x410   /* one record of so many is traced, a power of two; 0: none. Beside what readers read */
#define CTL_TRACE_UNTIL_NS    0x418   /* monotonic */
#define CTL_TRACE_INTERVAL_NS 0x420   /* the owner chooses strides so that samples are about so far apart */
#define CTL_LOG_START_OFFSET  0x480
#define CTL_LSO_OFFSET        0x500
#define CTL_LSO_POS           0x508
#define CTL_SEGMENT_TURN      0x580
#define CTL_SEGMENT_SLOTS     0x588   /* two of (base offset, base position); slot turn & 1 is valid */
#define CTL_SYNC_FAILED       0x5A8   /* memory.layout.SyncFailed */
#define CTL_SYNC_RUNNING      0x5B0   /* memory.layout.SyncRunning */
#define CTL_LEADER_REPLICA    0x5B8   /* whose segments `segment`, `written` and `synced` speak of */
#define CTL_LEASE             0x600   /* reserved */
#define CTL_IN_SYNC           0x680   /* how many replicas are in sync, 0: nobody wrote it; since 1.3 */
#define CTL_IN_SYNC_NEEDED    0x688   /* how many min.insync.replicas asks for; since 1.3 */
#define CTL_SHARE_GROUPS      0x780   /* reserved */
#define CTL_COUNTERS          0x800
#define CTL_ERROR_TEXT        0xC00   /* 512 bytes: u16 length, UTF-8 */
#define CTL_LANES             0x1000
#define CTL_LANE_SLOTS        1024
#define CTL_LANE_SLOT_BYTES   64      /* lane id (0: empty), then its terms: memory.control_page packs them */
#define CTL_IMAGES            0x11000
#define CTL_IMAGE_BYTES       0x21000
#define CTL_IMAGE_PRODUCERS   1024    /* as many as lanes: whoever has one is remembered */
#define CTL_TRACE             0x53000 /* samples: native/trace.h */
#define CTL_SIZE              0x55000

/* counters, u64 each, from CTL_COUNTERS */
#define COUNTER_BATCHES         0
#define COUNTER_RECORDS         1
#define COUNTER_BYTES           2
#define COUNTER_GROUPS          3
#define COUNTER_WRITES          4
#define COUNTER_SYNCS           5
#define COUNTER_WAKES           6
#define COUNTER_SLEEPS          7
#define COUNTER_REJECTED        8
#define COUNTER_DUPLICATES      9
#define COUNTER_ROLLS          10
#define COUNTER_WRITE_ERRORS   11
#define COUNTER_REWRITES       12
#define COUNTER_COUNT          16

/* idx region: commit entries of 64 bytes */
#define IDX_ENTRY_BYTES       64
#define IDX_SEQ               0       /* 1 + sequence number; stored last, release; 0: empty */
#define IDX_POS_END           8
#define IDX_BASE_OFFSET      16
#define IDX_LENGTH           24       /* u32, bytes of the batch */
#define IDX_COUNT            28       /* u32, records */
#define IDX_LANE             32       /* u32, slot in the lane table */
#define IDX_LANE_GENERATION  36       /* u32, low half of the lane id */
#define IDX_LANE_POS_END     40
#define IDX_LANE_POS         48       /* where its frame begins in the lane: its length there is not that of the batch */
#define IDX_APPEND_NS        56

/* bell region and the bell of a client region */
#define BELL_SIZE             0x1000
#define BELL_DOORBELL         0x100   /* u32 futex word, any waker increments it */
#define BELL_SLEEPING         0x180   /* u32, only the sleeper writes it */

/* samples of where the time of records goes, in ctl and client regions: a number, stored last, and seven words */
#define TRACE_ENTRIES         128
#define TRACE_ENTRY_BYTES     64
#define TRACE_SEQ             0       /* 1 + number of the sample; 0: empty */
#define TRACE_WORDS           8

/* client region: one per client process */
#define CLIENT_SLOTS          0x1000
#define CLIENT_SLOT_COUNT     1024
#define CLIENT_SLOT_BYTES     64
#define CLIENT_TRACE          0x11000 /* when traced records were read: samples */
#define CLIENT_SIZE           0x13000

/* a slot of it; see memory/client_slot.py */
#define SLOT_PARTITION        0       /* partition id + 1; 0: free */
#define SLOT_POSITION         8       /* next offset */
#define SLOT_TOKEN            16      /* of the member of a group; since 1.4, as what follows */
#define SLOT_COMMITS          24      /* number of the last commit */
#define SLOT_PAIRS            32      /* two of (offset, leader epoch): of the last commit with an even and an odd number */
#define SLOT_PAIR_BYTES       16

/* replica region: one per follower, written by it only (but the doorbell, which its leader rings); since 1.1 */
#define REPLICA_STATE          0x200   /* memory.layout.ReplicaState */
#define REPLICA_EPOCH          0x208   /* of the leader whose log the two offsets below are about */
#define REPLICA_PID            0x210
#define REPLICA_HEARTBEAT_NS   0x218
#define REPLICA_WRITTEN_OFFSET 0x280
#define REPLICA_SYNCED_OFFSET  0x300
#define REPLICA_SIZE           0x1000

/* lane region: one per producer and partition */
#define LANE_OPEN             0x100   /* the hand-off word */
#define LANE_HEAD             0x180   /* owner: everything before is published or rejected */
#define LANE_STATE            0x200   /* owner: LANE_STATE_*, then error code */
#define LANE_ERROR            0x208
#define LANE_FREE             0x280   /* producer: everything before is acknowledged */
#define LANE_LINGER_US        0x288   /* producer: how long the owner should leave an open batch open */
#define LANE_DATA             0x1000  /* mapped twice, back to back */

#define LANE_STATE_OPEN         0
#define LANE_STATE_CLOSING      1
#define LANE_STATE_CLOSED       2
#define LANE_STATE_STOPPED      3     /* a batch was rejected; later ones wait for the producer */
#define LANE_STATE_QUARANTINED  4     /* the bytes make no sense */

/* frame: 64 bytes in front of the records of one batch in a lane */
#define FRAME_BYTES           64
#define FRAME_LENGTH          0       /* u32, with this header, without padding; written when the batch is closed */
#define FRAME_COUNT           4       /* u32 */
#define FRAME_BASE_TIMESTAMP  8
#define FRAME_MAX_TIMESTAMP  16       /* two cells; cell (count - 1) & 1 is valid */
#define FRAME_BASE_SEQUENCE  32       /* i32 */
#define FRAME_KIND           36       /* u16: FRAME_KIND_*; u16: attributes of a foreign batch */
#define FRAME_ATTRIBUTES     38
#define FRAME_STATUS         40       /* u32, owner: FRAME_STATUS_* ; u32 error code */
#define FRAME_ERROR          44
#define FRAME_BASE_OFFSET    48       /* owner */
#define FRAME_APPEND_MS      56       /* owner: with LogAppendTime when it was appended, -1 if only the log knows; else 0 */
#define FRAME_BEGUN_NS       56       /* producer, until the owner has taken the batch: when its first record came, monotonic */

#define FRAME_KIND_RECORDS      0
#define FRAME_KIND_FOREIGN      1       /* reserved: a batch that a client of Kafka made */

#define FRAME_STATUS_PENDING    0
#define FRAME_STATUS_APPENDED   1
#define FRAME_STATUS_DUPLICATE  2
#define FRAME_STATUS_REJECTED   3

/* the hand-off word: start/8 : 25 | closed : 1 | end : 20 | count : 18 */
#define OPEN_COUNT_BITS   18
#define OPEN_END_BITS     20
#define OPEN_START_BITS   25
#define OPEN_COUNT_MASK   ((UINT64_C(1) << OPEN_COUNT_BITS) - 1)
#define OPEN_END_SHIFT    OPEN_COUNT_BITS
#define OPEN_END_MASK     ((UINT64_C(1) << OPEN_END_BITS) - 1)
#define OPEN_CLOSED       (UINT64_C(1) << (OPEN_COUNT_BITS + OPEN_END_BITS))
#define OPEN_START_SHIFT  (OPEN_COUNT_BITS + OPEN_END_BITS + 1)
#define OPEN_START_MASK   ((UINT64_C(1) << OPEN_START_BITS) - 1)

static inline uint64_t open_word(uint64_t start, uint64_t closed, uint64_t end, uint64_t count) {
    return (((start >> 3) & OPEN_START_MASK) << OPEN_START_SHIFT) | (closed ? OPEN_CLOSED : 0) | (end << OPEN_END_SHIFT) | count;
}
static inline uint64_t open_count(uint64_t word) { return word & OPEN_COUNT_MASK; }
static inline uint64_t open_end(uint64_t word) { return (word >> OPEN_END_SHIFT) & OPEN_END_MASK; }
static inline int open_closed(uint64_t word) { return (word & OPEN_CLOSED) != 0; }
/* Signed distance in bytes from the owner's cursor to the start in the word, modulo 256 MiB. */
static inline int64_t open_distance(uint64_t word, uint64_t cursor) {
    uint64_t d = ((word >> OPEN_START_SHIFT) - (cursor >> 3)) & OPEN_START_MASK;
    return (d & (UINT64_C(1) << (OPEN_START_BITS - 1))) ? -(int64_t)((OPEN_START_MASK + 1 - d) << 3) : (int64_t)(d << 3);
}

_Static_assert(OPEN_COUNT_BITS + OPEN_END_BITS + OPEN_START_BITS + 1 == 64, "the hand-off word is 64 bits");
_Static_assert(CTL_IMAGES + 2 * CTL_IMAGE_BYTES == CTL_TRACE, "two images end where the samples begin");
_Static_assert(CTL_TRACE + TRACE_ENTRIES * TRACE_ENTRY_BYTES == CTL_SIZE, "the samples end the ctl region");
_Static_assert(CTL_IMAGE_PRODUCERS == CTL_LANE_SLOTS, "every lane may be another producer's");
_Static_assert(CTL_LANES + CTL_LANE_SLOTS * CTL_LANE_SLOT_BYTES == CTL_IMAGES, "the lane table ends at the images");
_Static_assert(CLIENT_SLOTS + CLIENT_SLOT_COUNT * CLIENT_SLOT_BYTES == CLIENT_TRACE, "the slots end where the samples begin");
_Static_assert(CLIENT_TRACE + TRACE_ENTRIES * TRACE_ENTRY_BYTES == CLIENT_SIZE, "the samples end the client region");

#endif
