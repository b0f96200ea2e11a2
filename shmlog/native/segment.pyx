# cython: language_level=3, boundscheck=False, wraparound=False
"""The one way bytes reach a segment."""

import os

from libc.errno cimport EINTR, EINVAL, EIO, ENOMEM, EOVERFLOW, errno
from libc.stdlib cimport free, realloc

cdef int64_t RELATIVE_OFFSET_MAX = 0x7FFFFFFF
cdef int64_t NO_TIMESTAMP = -1


cdef int write_at(int fd, const unsigned char *p, size_t n, int64_t position) noexcept nogil:
    """All n bytes at `position`, through short writes and signals; 0 or an errno."""
    cdef ssize_t done
    cdef int failure
    while n:
        done = pwrite(fd, p, n, position)
        if done < 0:
            failure = errno
            if failure == EINTR:
                continue
            return failure
        if done == 0:
            return EIO
        p += done
        n -= <size_t>done
        position += done
    return 0


cdef class SegmentWriter:
    """See segment.pyi."""

    def __cinit__(self, int log_fd, int index_fd, int time_index_fd, *, int64_t base_offset, int64_t size_bytes=0,
                  int64_t index_bytes=0, int64_t time_index_bytes=0, int64_t index_interval_bytes=4096,
                  int64_t bytes_since_index=0, int64_t max_timestamp_ms=-1, int64_t max_timestamp_offset=-1,
                  int64_t last_time_index_ms=-1, int64_t next_offset=-1):
        if index_bytes % OFFSET_INDEX_ENTRY_BYTES or time_index_bytes % TIME_INDEX_ENTRY_BYTES:
            raise ValueError(f"an index is whole entries, not {index_bytes} and {time_index_bytes} bytes")
        if base_offset < 0 or size_bytes < 0 or index_bytes < 0 or time_index_bytes < 0 or index_interval_bytes < 0:
            raise ValueError("offsets and sizes of a segment cannot be negative")
        self.log_fd = log_fd
        self.index_fd = index_fd
        self.time_index_fd = time_index_fd
        self.base_offset = base_offset
        self.next_offset = base_offset if next_offset < base_offset else next_offset
        self.size_bytes = size_bytes
        self.index_bytes = index_bytes
        self.time_index_bytes = time_index_bytes
        self.index_interval_bytes = index_interval_bytes
        self.bytes_since_index = bytes_since_index
        self.max_timestamp_ms = max_timestamp_ms
        self.max_timestamp_offset = max_timestamp_offset if max_timestamp_offset >= 0 else base_offset
        self.last_time_index_ms = last_time_index_ms
        self.index_scratch = NULL
        self.time_scratch = NULL
        self.scratch_entries = 0

    def __dealloc__(self):
        free(self.index_scratch)
        free(self.time_scratch)

    cdef int _grow_scratch(self, size_t entries) noexcept nogil:
        cdef unsigned char *grown
        if entries <= self.scratch_entries:
            return 0
        grown = <unsigned char *>realloc(self.index_scratch, entries * OFFSET_INDEX_ENTRY_BYTES)
        if grown == NULL:
            return ENOMEM
        self.index_scratch = grown
        grown = <unsigned char *>realloc(self.time_scratch, entries * TIME_INDEX_ENTRY_BYTES)
        if grown == NULL:
            return ENOMEM
        self.time_scratch = grown
        self.scratch_entries = entries
        return 0

    cdef int append_range(self, const unsigned char *p, size_t n) noexcept nogil:
        return self._take(p, n, True)

    cdef int _take(self, const unsigned char *p, size_t n, bint write_log) noexcept nogil:
        # Everything is worked out in locals first and written before any field moves: an error leaves the object as
        # it was, and a repeated call writes the same bytes to the same places.
        cdef const unsigned char *batch = p
        cdef const unsigned char *end = p + n
        cdef int64_t next_offset = self.next_offset
        cdef int64_t bytes_since_index = self.bytes_since_index
        cdef int64_t max_timestamp_ms = self.max_timestamp_ms
        cdef int64_t max_timestamp_offset = self.max_timestamp_offset
        cdef int64_t last_time_index_ms = self.last_time_index_ms
        cdef int64_t size, last_offset, position, timestamp_ms
        cdef size_t index_entries = 0, time_entries = 0
        cdef int failure
        while batch < end:
            if end - batch < BATCH_HEADER_BYTES:
                return EINVAL
            size = batch_size_bytes(batch)
            last_offset = batch_last_offset(batch)
            if size < BATCH_HEADER_BYTES or size > end - batch or batch_magic(batch) != 2:
                return EINVAL
            if batch_base_offset(batch) < next_offset or last_offset < batch_base_offset(batch):
                return EINVAL
            position = self.size_bytes + (batch - p)
            if last_offset - self.base_offset > RELATIVE_OFFSET_MAX or position + size > RELATIVE_OFFSET_MAX:
                return EOVERFLOW
            timestamp_ms = batch_max_timestamp_ms(batch)
            if timestamp_ms > max_timestamp_ms:
                max_timestamp_ms = timestamp_ms
                max_timestamp_offset = last_offset
            if bytes_since_index > self.index_interval_bytes:
                if index_entries == self.scratch_entries:
                    failure = self._grow_scratch(2 * index_entries + 16)
                    if failure:
                        return failure
                be32_store(self.index_scratch + index_entries * OFFSET_INDEX_ENTRY_BYTES, <int>(last_offset - self.base_offset))
                be32_store(self.index_scratch + index_entries * OFFSET_INDEX_ENTRY_BYTES + 4, <int>position)
                index_entries += 1
                if max_timestamp_ms > last_time_index_ms:
                    be64_store(self.time_scratch + time_entries * TIME_INDEX_ENTRY_BYTES, max_timestamp_ms)
                    be32_store(self.time_scratch + time_entries * TIME_INDEX_ENTRY_BYTES + 8,
                               <int>(max_timestamp_offset - self.base_offset))
                    time_entries += 1
                    last_time_index_ms = max_timestamp_ms
                bytes_since_index = 0
            bytes_since_index += size
            next_offset = last_offset + 1
            batch += size
        # Log before index: an index entry never points at bytes that are not there.
        failure = write_at(self.log_fd, p, n, self.size_bytes) if write_log else 0
        if failure == 0:
            failure = write_at(self.index_fd, self.index_scratch, index_entries * OFFSET_INDEX_ENTRY_BYTES, self.index_bytes)
        if failure == 0:
            failure = write_at(self.time_index_fd, self.time_scratch, time_entries * TIME_INDEX_ENTRY_BYTES,
                               self.time_index_bytes)
        if failure:
            return failure
        self.size_bytes += <int64_t>n
        self.index_bytes += <int64_t>(index_entries * OFFSET_INDEX_ENTRY_BYTES)
        self.time_index_bytes += <int64_t>(time_entries * TIME_INDEX_ENTRY_BYTES)
        self.next_offset = next_offset
        self.bytes_since_index = bytes_since_index
        self.max_timestamp_ms = max_timestamp_ms
        self.max_timestamp_offset = max_timestamp_offset
        self.last_time_index_ms = last_time_index_ms
        return 0

    def append(self, const unsigned char[::1] batches not None):
        self._append(batches, True)

    def adopt(self, const unsigned char[::1] batches not None):
        self._append(batches, False)

    cdef int _append(self, const unsigned char[::1] batches, bint write_log) except -1:
        cdef const unsigned char *p
        cdef size_t n = <size_t>batches.shape[0]
        cdef int failure
        if n == 0:
            return 0
        p = &batches[0]
        with nogil:
            failure = self._take(p, n, write_log)
        if failure == EINVAL:
            raise ValueError(f"not whole v2 batches that continue this segment at offset {self.next_offset}")
        if failure == EOVERFLOW:
            raise OverflowError(f"an offset or position too far from the segment's base {self.base_offset}")
        if failure:
            raise OSError(failure, os.strerror(failure))
        return 0

    def append_final_time_index(self):
        cdef unsigned char entry[12]
        cdef int failure
        if self.size_bytes == 0 or self.max_timestamp_ms <= self.last_time_index_ms:
            return
        be64_store(entry, self.max_timestamp_ms)
        be32_store(entry + 8, <int>(self.max_timestamp_offset - self.base_offset))
        failure = write_at(self.time_index_fd, entry, TIME_INDEX_ENTRY_BYTES, self.time_index_bytes)
        if failure:
            raise OSError(failure, os.strerror(failure))
        self.time_index_bytes += TIME_INDEX_ENTRY_BYTES
        self.last_time_index_ms = self.max_timestamp_ms
