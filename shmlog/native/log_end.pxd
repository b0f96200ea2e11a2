from libc.stdint cimport int64_t, uint32_t, uint64_t

from shmlog.native.lane_table cimport LaneTable
from shmlog.native.mapping cimport Mapping
from shmlog.native.segment cimport SegmentWriter

cdef extern from "trace.h" nogil:
    ctypedef struct record_tracer:
        int64_t next_offset, until_ns, published_ns, written_ns
        int following
    void tracer_init(record_tracer *t, unsigned char *ctl, int64_t end_offset)
    void tracer_start(record_tracer *t, int64_t until_ns, int64_t interval_ns, int64_t now, int64_t end_offset)
    void tracer_stop(record_tracer *t)
    void tracer_taken(record_tracer *t, int64_t offset, uint32_t count, uint32_t bytes, int64_t begun_ns)
    void tracer_visible(record_tracer *t, int64_t offset, int64_t visible_ns)


cdef class LogEnd(LaneTable):
    cdef Mapping ring
    cdef readonly SegmentWriter writer
    cdef unsigned char *ring_base
    cdef readonly uint64_t capacity, tail_pos, written_pos
    cdef readonly int64_t tail_offset, written_offset, synced_offset, unsynced_records
    cdef public bint hold_for_sync
    cdef readonly int last_errno
    cdef record_tracer tracer

    cdef int _use_ring(self, Mapping ring) except -1
    cdef int _write(self) noexcept nogil
    cdef void _advance_watermark(self, int64_t offset, uint64_t pos) noexcept nogil
