from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t

from shmlog.native.lane_table cimport GATHER_NS, TAKE_BATCH, TAKE_GARBAGE, TAKE_LATER, TAKE_NOTHING, append_terms, lane_advance, lane_reader, lane_take, taken_batch
from shmlog.native.log_end cimport LogEnd, tracer_taken
from shmlog.native.mapping cimport Mapping
from shmlog.native.producer_table cimport ProducerTable

cdef struct pending_batch:
    lane_reader *lane
    unsigned char *frame
    uint64_t pos_end, lane_pos, lane_pos_end
    int64_t base_offset
    uint32_t length, count, status, error


cdef class Publisher(LogEnd):
    cdef size_t turn
    cdef readonly uint64_t group_bytes, image_pos
    cdef readonly int64_t next_deadline_ns, burst_records, grow_after_ns
    cdef public int64_t sync_after_records, segment_bytes
    cdef pending_batch *pending
    cdef size_t pending_count
    cdef readonly ProducerTable producers

    cdef int _use_index(self, Mapping index) except -1
    cdef int _run(self, int64_t budget_ns) noexcept nogil
    cdef bint _has_work(self) noexcept nogil
    cdef int _gather(self, int64_t now) noexcept nogil
    cdef int _append(self, lane_reader *lane, taken_batch *taken, uint64_t *pos, int64_t *offset) noexcept nogil
    cdef void _publish(self, uint64_t new_tail, int64_t new_offset, int64_t now) noexcept nogil
    cdef void _store_image(self) noexcept nogil
