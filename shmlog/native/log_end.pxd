from libc.stdint cimport int64_t, uint64_t

from shmlog.native.lane_table cimport LaneTable
from shmlog.native.mapping cimport Mapping
from shmlog.native.segment cimport SegmentWriter


cdef class LogEnd(LaneTable):
    cdef Mapping ring
    cdef readonly SegmentWriter writer
    cdef unsigned char *ring_base
    cdef readonly uint64_t capacity, tail_pos, written_pos
    cdef readonly int64_t tail_offset, written_offset, synced_offset, unsynced_records
    cdef public bint hold_for_sync
    cdef readonly int last_errno

    cdef int _use_ring(self, Mapping ring) except -1
    cdef int _write(self) noexcept nogil
    cdef void _advance_watermark(self, int64_t offset, uint64_t pos) noexcept nogil
