from libc.stdint cimport int64_t

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, int64_t position)

cdef extern from "segment_format.h" nogil:
    enum:
        BATCH_HEADER_BYTES
        OFFSET_INDEX_ENTRY_BYTES
        TIME_INDEX_ENTRY_BYTES
    void be64_store(unsigned char *p, int64_t v)
    void be32_store(unsigned char *p, int v)
    int64_t batch_base_offset(const unsigned char *p)
    int64_t batch_size_bytes(const unsigned char *p)
    int batch_magic(const unsigned char *p)
    int64_t batch_last_offset(const unsigned char *p)
    int64_t batch_max_timestamp_ms(const unsigned char *p)


cdef class SegmentWriter:
    cdef readonly int log_fd, index_fd, time_index_fd
    cdef readonly int64_t base_offset
    cdef readonly int64_t next_offset              # one after the last record written here
    cdef readonly int64_t size_bytes, index_bytes, time_index_bytes
    cdef readonly int64_t index_interval_bytes, bytes_since_index
    cdef readonly int64_t max_timestamp_ms, max_timestamp_offset, last_time_index_ms
    cdef unsigned char *index_scratch              # entries of the append in progress, before they are written
    cdef unsigned char *time_scratch
    cdef size_t scratch_entries

    # Writes whole batches; 0 or an errno. After an error nothing of this object has moved: repeat the same call.
    cdef int append_range(self, const unsigned char *p, size_t n) noexcept nogil
    cdef int _take(self, const unsigned char *p, size_t n, bint write_log) noexcept nogil
    cdef int _append(self, const unsigned char[::1] batches, bint write_log) except -1
    cdef int _grow_scratch(self, size_t entries) noexcept nogil
