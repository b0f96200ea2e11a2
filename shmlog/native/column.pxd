from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

from shmlog.native.lane cimport column_source


cdef class Column:
    cdef column_source source
    cdef readonly int64_t count
    cdef Py_buffer views[3]
    cdef int view_count

    cdef Py_buffer *view(self, item, int flags) except NULL
