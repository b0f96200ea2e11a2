# cython: language_level=3, boundscheck=False, wraparound=False
"""Values or keys of many records in memory that somebody else laid out: arrays, and offsets into a buffer."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDED_RO, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t

import shmlog.arguments as arguments
from shmlog.errors import InvalidArgumentError
from shmlog.native.lane cimport (
    COLUMN_OFFSETS32, COLUMN_OFFSETS64, COLUMN_ROWS, COLUMN_TRIMMED, column_at, column_source,
)

FORMS = ("an array of fixed width (numpy: uint8 in two dimensions, or dtype S, V or structured), a pair (offsets, buffer),"
         " or an Arrow array of binary or string")


cdef class Column:
    """See column.pyi."""

    def __init__(self, given not None, name not None):
        if isinstance(given, tuple) and len(given) == 2:
            self._take_pair(given[0], given[1], name)
        elif hasattr(given, "__arrow_c_array__") or hasattr(given, "__arrow_c_stream__"):
            self._take_arrow(given, name)
        else:
            self._take_array(given, name)

    def __dealloc__(self):
        for k in range(self.view_count):
            PyBuffer_Release(&self.views[k])

    cdef Py_buffer *view(self, item, int flags) except NULL:
        """A view of somebody's memory, which is kept until this column goes."""
        PyObject_GetBuffer(item, &self.views[self.view_count], flags)
        self.view_count += 1
        return &self.views[self.view_count - 1]

    def _take_array(self, given, name):
        cdef Py_buffer *view
        if isinstance(given, (str, bytes, bytearray, list, tuple)):
            raise arguments.refusal(name, FORMS, given, "for a list there is send_many()")
        try:
            view = self.view(given, PyBUF_STRIDED_RO | PyBUF_FORMAT)
        except (TypeError, ValueError, BufferError):
            raise arguments.refusal(name, FORMS, given) from None
        form = view.format.decode() if view.format != NULL else "B"
        if view.ndim == 2 and form in ("B", "b", "c") and view.strides[1] == 1:
            self.source.kind = COLUMN_ROWS
            self.source.width = view.shape[1]
        elif view.ndim == 1 and form.endswith("s"):
            self.source.kind = COLUMN_TRIMMED
            self.source.width = view.itemsize
        elif view.ndim == 1 and (form.endswith("x") or form.startswith("T{")) and "O" not in form:
            self.source.kind = COLUMN_ROWS
            self.source.width = view.itemsize
        else:
            raise arguments.refusal(name, FORMS, given, f"this is of {view.ndim} dimensions and format {form!r}")
        self.source.stride = view.strides[0]
        self.source.data = <const unsigned char *>view.buf
        self.count = view.shape[0]

    def _take_pair(self, offsets, data, name):
        cdef Py_buffer *bounds
        cdef Py_buffer *content
        try:
            bounds = self.view(offsets, PyBUF_STRIDED_RO | PyBUF_FORMAT)
            content = self.view(data, PyBUF_SIMPLE)
        except (TypeError, ValueError, BufferError):
            raise arguments.refusal(name, "a pair of an array of offsets and a contiguous buffer", (offsets, data)) from None
        form = bounds.format.decode() if bounds.format != NULL else "B"
        if bounds.ndim != 1 or form not in ("i", "l", "q") or bounds.shape[0] < 1 or bounds.strides[0] != bounds.itemsize:
            raise arguments.refusal(f"the offsets of {name}", "a contiguous array of int32 or int64, one more than records", offsets)
        self.source.kind = COLUMN_OFFSETS32 if bounds.itemsize == 4 else COLUMN_OFFSETS64
        self.source.offsets = bounds.buf
        self.source.data = <const unsigned char *>content.buf
        self.source.size_bytes = content.len
        self.count = bounds.shape[0] - 1
        self._check_offsets(name)

    def _take_arrow(self, given, name):
        import pyarrow
        array = given if isinstance(given, pyarrow.Array) else pyarrow.chunked_array(given).combine_chunks() \
            if hasattr(given, "__arrow_c_stream__") else pyarrow.array(given)
        types = pyarrow.types
        if types.is_binary_view(array.type) or types.is_string_view(array.type):
            array = array.cast(pyarrow.large_binary())
        fixed = types.is_fixed_size_binary(array.type)
        small = types.is_binary(array.type) or types.is_string(array.type)
        if not (fixed or small or types.is_large_binary(array.type) or types.is_large_string(array.type)):
            raise arguments.refusal(name, FORMS, given, f"this is an Arrow array of {array.type}")
        self.count = len(array)
        buffers = array.buffers()
        if array.null_count:
            self.source.validity = <const unsigned char *>self.view(buffers[0], PyBUF_SIMPLE).buf
            self.source.validity_from = array.offset
        if not self.count:
            return
        if fixed:
            self.source.kind = COLUMN_ROWS
            self.source.width = self.source.stride = array.type.byte_width
            self.source.data = <const unsigned char *>self.view(buffers[1], PyBUF_SIMPLE).buf
            self.source.data += <int64_t>array.offset * self.source.width
            return
        self.source.kind = COLUMN_OFFSETS32 if small else COLUMN_OFFSETS64
        self.source.offsets = <const char *>self.view(buffers[1], PyBUF_SIMPLE).buf + <int64_t>array.offset * (4 if small else 8)
        if buffers[2] is not None:  # else everything is empty
            self.source.data = <const unsigned char *>self.view(buffers[2], PyBUF_SIMPLE).buf
            self.source.size_bytes = self.views[self.view_count - 1].len
        self._check_offsets(name)

    def _check_offsets(self, name):
        cdef const unsigned char *at
        cdef int64_t k, length
        for k in range(self.count):
            if not column_at(&self.source, k, &at, &length):
                raise InvalidArgumentError(
                    f"the offsets of {name} must rise and stay within its buffer of {self.source.size_bytes} bytes;"
                    f" those of record {k} (from 0) do not")
