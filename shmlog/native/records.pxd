from libc.stdint cimport int32_t, int64_t


cdef class Record:
    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp_ms
    cdef bytes chunk          # the batches that the lazy fields lie in
    cdef object _key, _value, _headers
    cdef Py_ssize_t key_at, key_length, value_at, value_length, headers_at, headers_end
    cdef int header_count
