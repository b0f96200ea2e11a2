# cython: language_level=3, boundscheck=False, wraparound=False
"""Samples of where the time of records goes, for those who read them and for clients that add to them."""

from libc.stdint cimport uint64_t

from shmlog.native.mapping cimport Mapping

cdef extern from "trace.h" nogil:
    ctypedef uint64_t trace_words[8]
    enum: TRACE_ENTRIES, TRACE_ENTRY_BYTES
    uint64_t trace_end(const unsigned char *ring)
    void trace_put(unsigned char *ring, uint64_t number, const uint64_t *words)
    uint64_t trace_next(const unsigned char *ring, uint64_t number, uint64_t *words)


cdef class SampleReader:
    """See trace.pyi."""

    cdef Mapping mapping
    cdef size_t at
    cdef readonly uint64_t number, lost

    def __init__(self, Mapping mapping not None, size_t at):
        mapping.check_range(at, TRACE_ENTRIES * TRACE_ENTRY_BYTES)
        self.mapping = mapping
        self.at = at
        self.number = trace_end(mapping.base + at)

    def take(self):
        cdef uint64_t seq
        cdef trace_words words
        cdef list found = []
        self.mapping.check()
        for _ in range(TRACE_ENTRIES):
            seq = trace_next(self.mapping.base + self.at, self.number, words)
            if seq == 0:
                break
            self.lost += seq - 1 - self.number
            self.number = seq
            found.append((words[1], words[2], words[3], words[4], words[5], words[6], words[7]))
        return found


cdef class SampleWriter:
    """See trace.pyi."""

    cdef Mapping mapping
    cdef size_t at
    cdef uint64_t number

    def __init__(self, Mapping mapping not None, size_t at):
        mapping._check_writable(at, TRACE_ENTRIES * TRACE_ENTRY_BYTES)
        self.mapping = mapping
        self.at = at
        self.number = trace_end(mapping.base + at)

    def put(self, uint64_t a, uint64_t b, uint64_t c, uint64_t d):
        cdef trace_words words
        self.mapping.check()
        words[1], words[2], words[3], words[4] = a, b, c, d
        words[5] = words[6] = words[7] = 0
        trace_put(self.mapping.base + self.at, self.number, words)
        self.number += 1
