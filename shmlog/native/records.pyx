# cython: language_level=3, boundscheck=False, wraparound=False
"""Records as Python sees them, decoded lazily from the batches that they lie in."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int32_t, int64_t, uint16_t, uint32_t, uint64_t

import shmlog.arguments as arguments
from shmlog.errors import CorruptRecordError

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES, BATCH_LENGTH, BATCH_MAGIC, BATCH_ATTRIBUTES, BATCH_CODEC_MASK
    uint16_t be16(const unsigned char *p)
    uint32_t be32(const unsigned char *p)
    uint64_t be64(const unsigned char *p)
    const unsigned char *get_varint(const unsigned char *p, const unsigned char *end, int64_t *value)

cdef int64_t integer(value, name, int64_t minimum, int64_t maximum) except? -1:
    cdef int overflow = 0
    cdef int64_t number
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow and minimum <= number <= maximum:
            return number
    return arguments.integer(value, name, minimum, maximum)


cdef bint is_header(pair):
    if not PyTuple_CheckExact(pair) or len(<tuple>pair) != 2:
        return False
    name, content = <tuple>pair
    return PyUnicode_CheckExact(name) and (content is None or PyBytes_CheckExact(content))


@cython.final
@cython.freelist(512)
@cython.no_gc
cdef class Record:
    """See records.pyi."""

    def __init__(self, topic="", partition=0, offset=0, timestamp_ms=0, key=None, value=None, headers=(), leader_epoch=-1):
        self.topic = topic if PyUnicode_CheckExact(topic) else arguments.text(topic, "topic")
        self.partition = <int32_t>integer(partition, "partition", INT32_MIN, INT32_MAX)
        self.leader_epoch = <int32_t>integer(leader_epoch, "leader_epoch", INT32_MIN, INT32_MAX)
        self.offset = integer(offset, "offset", INT64_MIN, INT64_MAX)
        self.timestamp_ms = integer(timestamp_ms, "timestamp_ms", INT64_MIN, INT64_MAX)
        self._key = key
        self._value = value
        if not PyTuple_CheckExact(headers):
            headers = arguments.header_pairs(headers)
        for pair in <tuple>headers:
            if not is_header(pair):
                headers = arguments.header_pairs(headers)
                break
        self._headers = headers
        self.chunk = None
        self.key_at = self.value_at = self.headers_at = -1

    @property
    def key(self):
        if self.key_at >= 0:
            if self.key_length >= 0:
                self._key = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.chunk) + self.key_at, self.key_length)
            self.key_at = -1
        return self._key

    @property
    def value(self):
        if self.value_at >= 0:
            if self.value_length >= 0:
                self._value = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.chunk) + self.value_at, self.value_length)
            self.value_at = -1
        return self._value

    @property
    def headers(self):
        if self.headers_at >= 0:
            self._headers = self._decode_headers() if self.header_count else ()
            self.headers_at = -1
        return self._headers

    def _decode_headers(self):
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(self.chunk)
        cdef const unsigned char *p = start + self.headers_at
        cdef const unsigned char *end = start + self.headers_end
        cdef int64_t length
        cdef list found = []
        for _ in range(self.header_count):
            p = get_varint(p, end, &length)
            if p == NULL or length < 0 or length > end - p:
                raise CorruptRecordError(f"a header of record {self.topic}-{self.partition}@{self.offset} is damaged")
            name = PyUnicode_DecodeUTF8(<const char *>p, length, "replace")
            p = get_varint(p + length, end, &length)
            if p == NULL or length < -1 or length > end - p:
                raise CorruptRecordError(f"a header of record {self.topic}-{self.partition}@{self.offset} is damaged")
            found.append((name, PyBytes_FromStringAndSize(<const char *>p, length) if length >= 0 else None))
            if length > 0:
                p += length
        if p != end:
            raise CorruptRecordError(f"the headers of record {self.topic}-{self.partition}@{self.offset} are damaged")
        return tuple(found)

    def _content(self):
        return (self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value, self.headers)

    def __reduce__(self):
        return Record, (*self._content(), self.leader_epoch)

    def __eq__(self, other):
        if not isinstance(other, Record):
            return NotImplemented
        return self._content() == (<Record>other)._content()

    def __hash__(self):
        return hash(self._content())

    def __repr__(self):
        return (f"Record(topic={self.topic!r}, partition={self.partition}, offset={self.offset},"
                f" timestamp_ms={self.timestamp_ms}, key={self.key!r}, value={self.value!r}, headers={self.headers!r})")


cdef damaged(int problem, bytes chunk, const unsigned char *batch, str topic, int32_t partition, int64_t detail):
    """The error for what is wrong with a batch of a chunk. `detail`: which record, or how many bytes."""
    cdef int64_t base_offset = <int64_t>be64(batch)
    where = f"{topic}-{partition}"
    if problem == WALK_LENGTH:
        left = <const unsigned char *>PyBytes_AS_STRING(chunk) + PyBytes_GET_SIZE(chunk) - batch
        return CorruptRecordError(f"{where}: a batch at offset {base_offset} claims {be32(batch + BATCH_LENGTH)} bytes, {left} are there")
    if problem == WALK_FORMAT:
        return CorruptRecordError(f"{where}: the batch at offset {base_offset} has format {batch[BATCH_MAGIC]}, this shmlog reads format 2")
    if problem == WALK_CHECKSUM:
        return CorruptRecordError(f"{where}: the checksum of the batch at offset {base_offset} is wrong;"
                                  " seek past it, or look at it with: shmlog segment verify FILE")
    if problem == WALK_CODEC:
        return CorruptRecordError(f"{where}: the batch at offset {base_offset} is compressed with codec"
                                  f" {be16(batch + BATCH_ATTRIBUTES) & BATCH_CODEC_MASK}: record.expansion makes it plain first")
    if problem == WALK_RECORD:
        return CorruptRecordError(f"{where}: record {detail} of the batch at offset {base_offset} is"
                                  " damaged although its checksum is right; seek past the batch")
    return CorruptRecordError(f"{where}: {detail} bytes follow the last record of the batch at"
                              f" offset {base_offset}; seek past the batch")


cdef Record new_record(bytes chunk, str topic, int32_t partition, int64_t offset, int64_t timestamp_ms, int32_t leader_epoch,
                       const record_fields *fields):
    cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(chunk)
    cdef Record record = Record.__new__(Record)
    record.topic = topic
    record.partition = partition
    record.leader_epoch = leader_epoch
    record.offset = offset
    record.timestamp_ms = timestamp_ms
    record.chunk = chunk
    record.key_at = fields.key - start
    record.key_length = <Py_ssize_t>fields.key_length
    record.value_at = fields.value - start
    record.value_length = <Py_ssize_t>fields.value_length
    record.headers_at = fields.headers - start
    record.headers_end = fields.end - start
    record.header_count = <int>fields.header_count
    return record


def decode_batches(bytes chunk not None, str topic not None, int32_t partition, int64_t from_offset, int64_t limit_offset,
                   Py_ssize_t max_records, bint check_crcs=True):
    cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(chunk)
    cdef const unsigned char *end = start + PyBytes_GET_SIZE(chunk)
    cdef const unsigned char *batch = start
    cdef const unsigned char *p
    cdef int64_t next_offset = from_offset, delta, offset
    cdef int64_t detail = 0
    cdef int32_t leader_epoch = -1
    cdef uint32_t k
    cdef int found
    cdef batch_view view
    cdef record_fields fields
    cdef list records = []
    cdef Py_ssize_t room = max_records
    while end - batch >= BATCH_HEADER_BYTES and room > 0:
        found = look_at_batch(batch, end, from_offset, limit_offset, check_crcs, batch == start, &view)
        if found == WALK_END:
            break
        if found == WALK_BATCH:
            leader_epoch = view.leader_epoch
            p = view.records
            delta = -1
            for k in range(view.count):
                p = get_record(p, view.end, &fields)
                if p == NULL or fields.offset_delta <= delta or fields.offset_delta > view.last_offset - view.base_offset:
                    found, detail = WALK_RECORD, k
                    break
                delta = fields.offset_delta
                offset = view.base_offset + delta
                if offset < from_offset:
                    continue
                if room == 0:
                    return records, next_offset, batch - start, leader_epoch
                PyList_Append(records, new_record(chunk, topic, partition, offset, record_timestamp(&view, &fields), view.leader_epoch, &fields))
                room -= 1
                next_offset = offset + 1
            else:
                if p != view.end:
                    found, detail = WALK_TRAILING, view.end - p
        if found > WALK_END:
            if records:
                break  # whole records first; the next call begins here and reports the damage
            raise damaged(found, chunk, batch, topic, partition, detail)
        leader_epoch = view.leader_epoch
        batch = view.end
        next_offset = max(next_offset, view.last_offset + 1)
    return records, next_offset, batch - start, leader_epoch
