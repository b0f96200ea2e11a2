# cython: language_level=3, boundscheck=False, wraparound=False
"""Walks over v2 batches in bytes that came from a segment file."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from shmlog.native.segment cimport (BATCH_HEADER_BYTES, batch_base_offset, batch_last_offset, batch_magic,
                                    batch_size_bytes)

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t crc, const void *p, size_t n)

cdef extern from "segment_format.h" nogil:
    uint32_t batch_crc(const unsigned char *p)
    int batch_leader_epoch(const unsigned char *p)
    int batch_last_offset_delta(const unsigned char *p)
    int batch_record_count(const unsigned char *p)

cdef enum:
    CRC_START = 21  # the checksum covers everything from the attributes on

cdef enum Problem:
    SOUND
    BAD_LENGTH
    BAD_MAGIC
    BAD_COUNT
    BAD_OFFSET
    BAD_CRC

PROBLEMS = ("", "its length makes no sense", "its magic byte is not 2", "its record count and last offset disagree",
            "its base offset does not follow the batch before", "its checksum is wrong")


cdef enum:
    ATTRIBUTES_AT = 22  # the low byte
    CODEC_MASK = 0x07
    CONTROL = 0x20


def find_compressed(const unsigned char[::1] data not None, Py_ssize_t start):
    cdef const unsigned char *p = &data[0] if data.shape[0] else NULL
    cdef Py_ssize_t at = start, end = data.shape[0]
    cdef int64_t size
    with nogil:
        while end - at >= BATCH_HEADER_BYTES:
            size = batch_size_bytes(p + at)
            if size < BATCH_HEADER_BYTES or size > end - at:
                break
            if p[at + ATTRIBUTES_AT] & CODEC_MASK and not p[at + ATTRIBUTES_AT] & CONTROL and batch_magic(p + at) == 2:
                end = at
                break
            at += size
    return end if end == at else data.shape[0]


def find_other_epoch(const unsigned char[::1] data not None, int epoch):
    cdef const unsigned char *p = &data[0] if data.shape[0] else NULL
    cdef Py_ssize_t at = 0, end = data.shape[0]
    cdef int64_t size
    with nogil:
        while end - at >= BATCH_HEADER_BYTES:
            size = batch_size_bytes(p + at)
            if size < BATCH_HEADER_BYTES or size > end - at:
                at = end
                break
            if batch_leader_epoch(p + at) != epoch:
                break
            at += size
    return at


cdef inline bint follows(const unsigned char *p, int64_t expected_offset, int64_t dense_from_offset) noexcept nogil:
    # Below dense_from_offset compaction may have taken away what was in between.
    cdef int64_t base_offset = batch_base_offset(p)
    return base_offset == expected_offset or expected_offset < base_offset <= dense_from_offset


cdef inline bint counts(const unsigned char *p, int64_t dense_from_offset) noexcept nogil:
    cdef int64_t delta = batch_last_offset_delta(p), count = batch_record_count(p)
    if delta < 0 or count < 0 or count > delta + 1:
        return False
    return count == delta + 1 or batch_last_offset(p) < dense_from_offset


def check_batches(const unsigned char[::1] data not None, int64_t expected_offset, int64_t crc_from_offset=0,
                  int64_t dense_from_offset=0):
    cdef const unsigned char *start = &data[0] if data.shape[0] else NULL
    cdef const unsigned char *p = start
    cdef const unsigned char *end = start + data.shape[0]
    cdef int64_t size, wanted = BATCH_HEADER_BYTES
    cdef Problem problem = SOUND
    with nogil:
        while end - p >= BATCH_HEADER_BYTES:
            size = batch_size_bytes(p)
            if size < BATCH_HEADER_BYTES:
                problem = BAD_LENGTH
            elif batch_magic(p) != 2:
                problem = BAD_MAGIC
            elif not follows(p, expected_offset, dense_from_offset):
                problem = BAD_OFFSET
            elif not counts(p, dense_from_offset):
                problem = BAD_COUNT
            elif size > end - p:
                wanted = size
                break
            elif batch_base_offset(p) >= crc_from_offset and crc32c(0, p + CRC_START, <size_t>(size - CRC_START)) != batch_crc(p):
                problem = BAD_CRC
            if problem != SOUND:
                break
            expected_offset = batch_last_offset(p) + 1
            p += size
    return p - start, expected_offset, wanted, PROBLEMS[<int>problem]


def select_batches(const unsigned char[::1] data not None, int64_t from_offset, int64_t limit_offset=INT64_MAX,
                   int64_t dense_from_offset=0):
    cdef const unsigned char *start = &data[0] if data.shape[0] else NULL
    cdef const unsigned char *p = start
    cdef const unsigned char *first = NULL
    cdef const unsigned char *end = start + data.shape[0]
    cdef int64_t size, next_offset = from_offset, wanted = BATCH_HEADER_BYTES
    cdef Problem problem = SOUND
    with nogil:
        while end - p >= BATCH_HEADER_BYTES:
            size = batch_size_bytes(p)
            if size < BATCH_HEADER_BYTES:
                problem = BAD_LENGTH
            elif batch_magic(p) != 2:
                problem = BAD_MAGIC
            elif batch_last_offset(p) < batch_base_offset(p) or (first != NULL and not follows(p, next_offset, dense_from_offset)):
                problem = BAD_OFFSET
            if problem != SOUND:
                break
            if batch_base_offset(p) >= limit_offset:
                wanted = 0
                break
            if size > end - p:
                wanted = size
                break
            if first == NULL and batch_last_offset(p) >= from_offset:
                first = p
            if first != NULL:
                next_offset = batch_last_offset(p) + 1
            p += size
    if first == NULL:
        first = p
    return first - start, p - start, next_offset, wanted, PROBLEMS[<int>problem]
