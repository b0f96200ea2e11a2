from libc.stdint cimport uint32_t

cdef extern from "batch.h" nogil:
    ctypedef struct records_seen:
        int lacks_key


cdef class BatchPacker:
    cdef object open_compressor, lane_copy, compressed
    cdef dict compressors
    cdef const unsigned char *records
    cdef uint32_t size
    cdef int codec
    cdef records_seen seen
    cdef object error

    cdef int pack(self, const unsigned char *records, uint32_t size, uint32_t count, int codec, int level) noexcept with gil

cdef enum:
    PACK_GARBAGE = 0
    PACKED = 1
    PACK_FAILED = 2
