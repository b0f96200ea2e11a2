# cython: language_level=3, boundscheck=False, wraparound=False
"""Records as columns: where everything lies in the fetched batches, and not a Python object for any record."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy, memset

import shmlog.arguments as arguments
from shmlog.errors import InvalidArgumentError
from shmlog.native.records cimport (
    WALK_BATCH, WALK_END, WALK_RECORD, WALK_TRAILING, batch_view, damaged, get_record, look_at_batch, new_record,
    record_fields, record_timestamp, records_at_most,
)

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES

cdef enum: OFFSETS = 0, TIMESTAMPS, KEY_STARTS, KEY_LENGTHS, VALUE_STARTS, VALUE_LENGTHS, RECORDS, ROWS


@cython.final
cdef class RecordColumns:
    """See columns.pyi."""

    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly bytes buffer
    cdef readonly bint has_headers
    cdef bytes block              # ROWS rows of `room` int64 each
    cdef list epochs              # from which record of the block on which leader epoch
    cdef int64_t room, first, count

    def __init__(self):
        self.topic = ""
        self.partition = -1
        self.buffer = self.block = b""
        self.epochs = []

    cdef const int64_t *row(self, int number) noexcept:
        return <const int64_t *>PyBytes_AS_STRING(self.block) + number * self.room + self.first

    cdef array(self, int number):
        import numpy
        return numpy.frombuffer(self.block, numpy.int64, self.count, 8 * (number * self.room + self.first))

    @property
    def offsets(self):
        return self.array(OFFSETS)

    @property
    def timestamps_ms(self):
        return self.array(TIMESTAMPS)

    @property
    def key_starts(self):
        return self.array(KEY_STARTS)

    @property
    def key_lengths(self):
        return self.array(KEY_LENGTHS)

    @property
    def value_starts(self):
        return self.array(VALUE_STARTS)

    @property
    def value_lengths(self):
        return self.array(VALUE_LENGTHS)

    def __len__(self):
        return self.count

    def __getitem__(self, k):
        cdef RecordColumns part
        cdef Py_ssize_t number
        if isinstance(k, slice):
            begin, end, step = k.indices(self.count)
            if step != 1:
                raise arguments.refusal("a slice of columns", "without a step, or with step 1", k)
            part = RecordColumns.__new__(RecordColumns)
            part.topic, part.partition, part.buffer, part.has_headers = self.topic, self.partition, self.buffer, self.has_headers
            part.block, part.room, part.epochs = self.block, self.room, self.epochs
            part.first, part.count = self.first + begin, max(0, end - begin)
            return part
        number = arguments.integer(k, "the number of a record")
        if number < 0:
            number += self.count
        if not 0 <= number < self.count:
            raise IndexError(f"there are {self.count} records, none has number {k}")
        return self.record(number)

    def __iter__(self):
        cdef int64_t k
        for k in range(self.count):
            yield self.record(k)

    cdef record(self, int64_t k):
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(self.buffer)
        cdef record_fields fields
        get_record(start + self.row(RECORDS)[k], start + PyBytes_GET_SIZE(self.buffer), &fields)
        return new_record(self.buffer, self.topic, self.partition, self.row(OFFSETS)[k], self.row(TIMESTAMPS)[k],
                          self.leader_epoch(k), &fields)

    cdef int32_t leader_epoch(self, int64_t k) except? -1:
        for first, epoch in reversed(self.epochs):  # one, but in a piece that leaders have changed in
            if first <= self.first + k:
                return epoch
        return -1

    cdef list cut(self, int starts):
        cdef const char *buffer = PyBytes_AS_STRING(self.buffer)
        cdef const int64_t *start = self.row(starts)
        cdef const int64_t *length = self.row(starts + 1)
        cdef int64_t k
        return [PyBytes_FromStringAndSize(buffer + start[k], length[k]) if length[k] >= 0 else None for k in range(self.count)]

    def values(self):
        return self.cut(VALUE_STARTS)

    def keys(self):
        return self.cut(KEY_STARTS)

    def headers(self):
        return [record.headers for record in self] if self.has_headers else [()] * self.count

    cdef rows_of(self, int starts, dtype, what):
        """Items of one width, as an array: where they lie if their distances are equal, else put together."""
        import numpy
        cdef const char *buffer = PyBytes_AS_STRING(self.buffer)
        cdef const int64_t *start = self.row(starts)
        cdef const int64_t *length = self.row(starts + 1)
        cdef int64_t k, stride, width
        cdef bint pads, even = True
        cdef bytes joined
        cdef char *out
        dtype = numpy.dtype(dtype)
        width = dtype.itemsize
        pads = dtype.kind == "S"
        if dtype.hasobject or not width:
            raise arguments.refusal("the dtype", "one of a fixed width that holds bytes, like S100", str(dtype))
        stride = start[1] - start[0] if self.count > 1 else width
        for k in range(self.count):
            if length[k] != width:
                even = False
                if length[k] < 0 or length[k] > width or not pads:
                    has = "is null" if length[k] < 0 else f"has {length[k]} bytes"
                    raise InvalidArgumentError(f"the {what} of {self.topic}-{self.partition}@{self.row(OFFSETS)[k]} {has},"
                                               f" and {dtype} has {width}: choose a dtype that holds all, or take {what}s()")
            even = even and start[k] == start[0] + k * stride
        if even and self.count:
            return numpy.ndarray((self.count,), dtype, self.buffer, start[0], (stride,)) if dtype.subdtype is None else \
                numpy.ndarray((self.count,), f"V{width}", self.buffer, start[0], (stride,)).view(dtype)
        joined = PyBytes_FromStringAndSize(NULL, self.count * width)
        out = PyBytes_AS_STRING(joined)
        for k in range(self.count):
            memcpy(out, buffer + start[k], length[k])
            memset(out + length[k], 0, width - length[k])
            out += width
        return numpy.frombuffer(joined, dtype)

    def values_as(self, dtype):
        return self.rows_of(VALUE_STARTS, dtype, "value")

    def keys_as(self, dtype):
        return self.rows_of(KEY_STARTS, dtype, "key")

    cdef views(self, int starts):
        """Arrow's binary view: lengths, and where it is; what has up to 12 bytes lies in the view itself."""
        cdef const char *buffer = PyBytes_AS_STRING(self.buffer)
        cdef const int64_t *start = self.row(starts)
        cdef const int64_t *length = self.row(starts + 1)
        cdef bytes views = PyBytes_FromStringAndSize(NULL, 16 * self.count)
        cdef bytes validity = bytes((self.count + 7) // 8)
        cdef char *view = PyBytes_AS_STRING(views)
        cdef unsigned char *bits = <unsigned char *>PyBytes_AS_STRING(validity)
        cdef int64_t k, nulls = 0
        cdef int32_t fields[4]
        for k in range(self.count):
            memset(fields, 0, 16)
            if length[k] < 0:
                nulls += 1
            else:
                bits[k >> 3] |= 1 << (k & 7)
                fields[0] = <int32_t>length[k]
                if length[k] <= 12:
                    memcpy(&fields[1], buffer + start[k], length[k])
                else:
                    memcpy(&fields[1], buffer + start[k], 4)
                    fields[3] = <int32_t>start[k]
            memcpy(view + 16 * k, fields, 16)
        return views, validity if nulls else None

    def to_arrow(self):
        import pyarrow
        if PyBytes_GET_SIZE(self.buffer) > 0x7FFFFFFF:
            raise InvalidArgumentError(f"a batch of {PyBytes_GET_SIZE(self.buffer)} bytes is too large for Arrow's views; take values()")
        content = pyarrow.py_buffer(self.buffer)
        columns = {"offset": pyarrow.array(self.offsets), "timestamp_ms": pyarrow.array(self.timestamps_ms)}
        for name, starts in (("key", KEY_STARTS), ("value", VALUE_STARTS)):
            views, validity = self.views(starts)
            columns[name] = pyarrow.Array.from_buffers(
                pyarrow.binary_view(), self.count,
                [None if validity is None else pyarrow.py_buffer(validity), pyarrow.py_buffer(views), content])
        return pyarrow.RecordBatch.from_pydict(columns)

    def __repr__(self):
        return f"<{self.count} records of {self.topic}-{self.partition}>"


def decode_columns(bytes chunk not None, str topic not None, int32_t partition, int64_t from_offset, int64_t limit_offset,
                   Py_ssize_t max_records, bint check_crcs=True):
    cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(chunk)
    cdef const unsigned char *end = start + PyBytes_GET_SIZE(chunk)
    cdef const unsigned char *batch = start
    cdef const unsigned char *p
    cdef const unsigned char *record
    cdef int64_t next_offset = from_offset, delta, offset, room, n = 0, detail = 0
    cdef int32_t leader_epoch = -1, noted = -1
    cdef uint32_t k
    cdef int found
    cdef batch_view view
    cdef record_fields fields
    cdef int64_t *row
    cdef RecordColumns columns = RecordColumns()
    columns.topic = topic
    columns.partition = partition
    columns.buffer = chunk
    columns.room = room = min(<int64_t>max_records, records_at_most(start, end))
    columns.block = PyBytes_FromStringAndSize(NULL, 8 * ROWS * room)
    row = <int64_t *>PyBytes_AS_STRING(columns.block)
    while end - batch >= BATCH_HEADER_BYTES and (n < room or not room):
        found = look_at_batch(batch, end, from_offset, limit_offset, check_crcs, batch == start, &view)
        if found == WALK_END:
            break
        if found == WALK_BATCH:
            leader_epoch = view.leader_epoch
            if leader_epoch != noted or not columns.epochs:
                columns.epochs.append((n, leader_epoch))
                noted = leader_epoch
            p = view.records
            delta = -1
            for k in range(view.count):
                record = p
                p = get_record(p, view.end, &fields)
                if p == NULL or fields.offset_delta <= delta or fields.offset_delta > view.last_offset - view.base_offset:
                    found, detail = WALK_RECORD, k
                    break
                delta = fields.offset_delta
                offset = view.base_offset + delta
                if offset < from_offset:
                    continue
                if n == room:
                    columns.count = n
                    return columns, next_offset, batch - start, leader_epoch
                row[n] = offset
                row[TIMESTAMPS * room + n] = record_timestamp(&view, &fields)
                row[KEY_STARTS * room + n] = fields.key - start
                row[KEY_LENGTHS * room + n] = fields.key_length
                row[VALUE_STARTS * room + n] = fields.value - start
                row[VALUE_LENGTHS * room + n] = fields.value_length
                row[RECORDS * room + n] = record - start
                if fields.header_count:
                    columns.has_headers = True
                n += 1
                next_offset = offset + 1
            else:
                if p != view.end:
                    found, detail = WALK_TRAILING, view.end - p
        if found > WALK_END:
            if n:
                break  # whole records first; the next call begins here and reports the damage
            raise damaged(found, chunk, batch, topic, partition, detail)
        leader_epoch = view.leader_epoch
        batch = view.end
        next_offset = max(next_offset, view.last_offset + 1)
    columns.count = n
    return columns, next_offset, batch - start, leader_epoch
