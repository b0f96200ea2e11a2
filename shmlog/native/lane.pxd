from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.native.delivery cimport BatchResult
from shmlog.native.mapping cimport Mapping


cdef struct record_source:
    const unsigned char *key
    const unsigned char *value
    const unsigned char *headers
    int64_t key_length, value_length, header_bytes, timestamp_ms
    uint32_t header_count


cdef class LaneWriter:
    cdef Mapping mapping, control, bell
    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly uint64_t lane_id
    cdef readonly int64_t max_batch_bytes
    cdef readonly int acks
    cdef readonly bint attention
    cdef readonly int64_t next_sequence
    cdef readonly uint64_t records, bytes, batches, failed_batches
    cdef object waiter, completed
    cdef unsigned char *base
    cdef unsigned char *frame
    cdef uint64_t data_bytes, free, start, word, frame_limit
    cdef uint32_t end, count
    cdef int64_t base_timestamp, max_timestamp
    cdef BatchResult current, spare
    cdef object unacknowledged

    cdef BatchResult append(self, record_source *record)
    cdef BatchResult _append_large(self, record_source *record, uint64_t body)
    cdef void _begin(self, unsigned char *frame, int64_t timestamp_ms) noexcept
    cdef BatchResult _new_result(self)
    cdef void _close_frame(self) noexcept
    cdef void _announce(self) noexcept
    cpdef int reclaim(self) except -1
    cdef _fail(self, BatchResult batch, error)
