from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t

from shmlog.native.mapping cimport Mapping
from shmlog.native.producer_table cimport ProducerTable
from shmlog.native.segment cimport SegmentWriter

cdef extern from "handoff.h" nogil:
    enum: TAKE_NOTHING, TAKE_BATCH, TAKE_LATER, TAKE_GARBAGE, GATHER_NS
    ctypedef struct lane_reader:
        unsigned char *base
        uint64_t data_bytes, cursor, lane_id, records
        int64_t producer_id, linger_ns, last_ns
        int16_t producer_epoch
        uint32_t max_frame, slot
        int closing, stopped
    ctypedef struct taken_batch:
        unsigned char *frame
        uint32_t end, count
        int from_word
    int lane_take(lane_reader *lane, taken_batch *taken, int64_t now, int64_t *deadline_ns)
    int lane_has_work(const lane_reader *lane)
    void lane_advance(lane_reader *lane, uint64_t cursor)


cdef struct pending_batch:
    lane_reader *lane
    unsigned char *frame
    uint64_t pos_end, lane_pos_end
    int64_t base_offset, max_timestamp
    uint32_t length, count, status, error


cdef class Publisher:
    cdef Mapping control, ring, index
    cdef readonly SegmentWriter writer
    cdef unsigned char *ctl
    cdef unsigned char *ring_base
    cdef unsigned char *idx
    cdef readonly uint64_t capacity, index_entries, tail_pos, written_pos, next_seq, group_bytes, image_pos
    cdef readonly int64_t tail_offset, written_offset, synced_offset, next_deadline_ns, segment_bytes, unsynced_records
    cdef readonly int32_t leader_epoch
    cdef public bint hold_for_sync
    cdef public int64_t sync_after_records
    cdef lane_reader **lanes
    cdef size_t lane_count, lane_capacity, turn
    cdef unsigned char **bells
    cdef size_t bell_count, bell_capacity
    cdef pending_batch *pending
    cdef size_t pending_count
    cdef readonly ProducerTable producers
    cdef dict lane_mappings, client_mappings
    cdef readonly int last_errno

    cdef int _run(self, int64_t budget_ns) noexcept nogil
    cdef int _gather(self, int64_t now) noexcept nogil
    cdef int _copy(self, lane_reader *lane, taken_batch *taken, uint64_t pos, int64_t offset) noexcept nogil
    cdef int _append(self, lane_reader *lane, taken_batch *taken, uint64_t *pos, int64_t *offset) noexcept nogil
    cdef void _publish(self, uint64_t new_tail, int64_t new_offset, int64_t now) noexcept nogil
    cdef int _write(self) noexcept nogil
    cdef void _wake(self) noexcept nogil
    cdef void _store_image(self) noexcept nogil
    cdef void _count(self, int counter, uint64_t amount) noexcept nogil
    cdef void _advance_watermark(self, int64_t offset, uint64_t pos) noexcept nogil
    cdef lane_reader *_lane(self, uint64_t lane_id) except NULL
