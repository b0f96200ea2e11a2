from libc.stdint cimport int64_t, uint64_t

from shmlog.native.mapping cimport Mapping


cdef class RingReader:
    cdef Mapping control, ring, index
    cdef unsigned char *ctl
    cdef unsigned char *limit_cell  # how far read() goes
    cdef unsigned char *ring_base
    cdef unsigned char *idx
    cdef readonly uint64_t capacity, index_entries, pos, generation, max_batch_bytes
    cdef readonly uint64_t trace_stride
    cdef readonly int64_t next_offset

    cdef bint _overrun(self, uint64_t pos) noexcept nogil
