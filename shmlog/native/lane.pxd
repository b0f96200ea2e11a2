from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.native.delivery cimport BatchResult
from shmlog.native.mapping cimport Mapping


cdef struct record_source:
    const unsigned char *key
    const unsigned char *value
    const unsigned char *headers
    int64_t key_length, value_length, header_bytes, timestamp_ms
    uint32_t header_count

cdef extern from "run.h" nogil:
    enum: COLUMN_NULLS, COLUMN_OBJECTS, COLUMN_ROWS, COLUMN_TRIMMED, COLUMN_OFFSETS32, COLUMN_OFFSETS64
    ctypedef struct column_source:
        int kind
        const unsigned char *data
        int64_t size_bytes, stride, width
        const void *offsets
        const unsigned char *validity
        int64_t validity_from
        PyObject *sequence
    ctypedef struct record_run:
        column_source values, keys
        const int64_t *timestamps
        int64_t timestamp_ms, earliest_ms, latest_ms, next, end, quota
        int needs_keys
        uint64_t bytes
        int64_t max_timestamp, spent
    int column_at(const column_source *column, int64_t k, const unsigned char **at, int64_t *length)


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
    cdef readonly uint64_t data_bytes, wanted_bytes
    cdef bint ended
    cdef unsigned char *base
    cdef unsigned char *frame
    cdef readonly uint64_t free
    cdef uint64_t start, word, frame_limit
    cdef uint32_t end, count
    cdef int64_t base_timestamp, max_timestamp
    cdef BatchResult current, spare
    cdef object unacknowledged

    cdef BatchResult append(self, record_source *record)
    cdef int64_t append_run(self, record_run *run) except -1
    cdef uint64_t _room(self, uint32_t end) noexcept
    cdef bint _count(self, uint32_t end, uint32_t count) noexcept
    cdef BatchResult _open(self, uint32_t end, uint32_t count)
    cdef void _begin(self, unsigned char *frame, int64_t timestamp_ms) noexcept
    cdef BatchResult _new_result(self)
    cdef void _close_frame(self) noexcept
    cdef void _announce(self) noexcept
    cpdef int reclaim(self) except -1
    cdef _fail(self, BatchResult batch, error)
