# cython: language_level=3, boundscheck=False, wraparound=False
"""The owner's own copy of a batch's records, checked and compressed before any of it is in the ring.

Compressed bytes cannot be checked where they lie, and a lane can change at any moment; so the copy comes first, in
memory that nobody else has, then the check, then the codec. Without a codec the copy in the ring does for both.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t

cdef extern from "access.h" nogil:
    void shm_copy_out(void *dst, const void *src, size_t n)

cdef extern from "batch.h" nogil:
    int records_fill(const unsigned char *p, const unsigned char *end, uint32_t count, records_seen *seen)


cdef class BatchPacker:
    """See packer.pyi."""

    def __init__(self, open_compressor):
        self.open_compressor = open_compressor
        self.compressors = {}

    def prepare(self, int codec, int level):
        if codec and (codec, level) not in self.compressors:
            self.compressors[codec, level] = self.open_compressor(codec, level)

    cdef int pack(self, const unsigned char *records, uint32_t size, uint32_t count, int codec, int level) noexcept with gil:
        """`records`, `size` and `codec` of this object are then what to put behind the header; until the next call."""
        cdef bytes copy, compressed
        try:
            copy = PyBytes_FromStringAndSize(NULL, size)
            self.lane_copy = copy
            self.records = <const unsigned char *>PyBytes_AS_STRING(copy)
            shm_copy_out(<void *>self.records, records, size)
            if not records_fill(self.records, self.records + size, count, &self.seen):
                return PACK_GARBAGE
            compressed = self.compressors[codec, level](copy)
            self.codec = 0
            self.size = size
            if PyBytes_GET_SIZE(compressed) < size:
                self.compressed = compressed
                self.records = <const unsigned char *>PyBytes_AS_STRING(compressed)
                self.size = <uint32_t>PyBytes_GET_SIZE(compressed)
                self.codec = codec
            return PACKED
        except BaseException as error:  # noqa: BLE001  # run() raises it: nothing may leave a function without the GIL
            self.error = error
            return PACK_FAILED
