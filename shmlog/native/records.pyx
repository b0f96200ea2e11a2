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
    enum: BATCH_HEADER_BYTES, BATCH_LENGTH, BATCH_LENGTH_FROM, BATCH_MAGIC, BATCH_CRC, BATCH_CRC_FROM, BATCH_ATTRIBUTES
    enum: BATCH_LAST_DELTA, BATCH_BASE_TIMESTAMP, BATCH_MAX_TIMESTAMP, BATCH_COUNT
    enum: BATCH_CODEC_MASK, BATCH_LOG_APPEND_TIME, BATCH_CONTROL
    ctypedef struct record_fields:
        int64_t timestamp_delta, offset_delta
        const unsigned char *key
        const unsigned char *value
        const unsigned char *headers
        const unsigned char *end
        int64_t key_length, value_length, header_count
    uint16_t be16(const unsigned char *p)
    uint32_t be32(const unsigned char *p)
    uint64_t be64(const unsigned char *p)
    const unsigned char *get_varint(const unsigned char *p, const unsigned char *end, int64_t *value)
    const unsigned char *get_record(const unsigned char *p, const unsigned char *end, record_fields *r)

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t crc, const void *p, size_t n)


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

    def __init__(self, topic="", partition=0, offset=0, timestamp_ms=0, key=None, value=None, headers=()):
        self.topic = topic if PyUnicode_CheckExact(topic) else arguments.text(topic, "topic")
        self.partition = <int32_t>integer(partition, "partition", INT32_MIN, INT32_MAX)
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
        return Record, self._content()

    def __eq__(self, other):
        if not isinstance(other, Record):
            return NotImplemented
        return self._content() == (<Record>other)._content()

    def __hash__(self):
        return hash(self._content())

    def __repr__(self):
        return (f"Record(topic={self.topic!r}, partition={self.partition}, offset={self.offset},"
                f" timestamp_ms={self.timestamp_ms}, key={self.key!r}, value={self.value!r}, headers={self.headers!r})")


def decode_batches(bytes chunk not None, str topic not None, int32_t partition, int64_t from_offset, int64_t limit_offset,
                   Py_ssize_t max_records, bint check_crcs=True):
    cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(chunk)
    cdef const unsigned char *end = start + PyBytes_GET_SIZE(chunk)
    cdef const unsigned char *batch = start
    cdef const unsigned char *batch_end
    cdef const unsigned char *p
    cdef int64_t base_offset, base_timestamp, max_timestamp, next_offset = from_offset, last_offset, delta
    cdef uint32_t length, count, k, attributes
    cdef record_fields fields
    cdef Record record
    cdef list records = []
    cdef Py_ssize_t room = max_records
    while end - batch >= BATCH_HEADER_BYTES and room > 0:
        base_offset = <int64_t>be64(batch)
        length = be32(batch + BATCH_LENGTH)
        if length < BATCH_HEADER_BYTES - BATCH_LENGTH_FROM or length > <size_t>(end - batch) - BATCH_LENGTH_FROM:
            if not records and (batch == start or length < BATCH_HEADER_BYTES - BATCH_LENGTH_FROM):
                raise CorruptRecordError(f"{topic}-{partition}: a batch at offset {base_offset} claims {length} bytes,"
                                         f" {end - batch} are there")
            break
        if base_offset >= limit_offset:
            break
        batch_end = batch + BATCH_LENGTH_FROM + length
        if batch[BATCH_MAGIC] != 2:
            if records:
                break  # whole records first; the next call begins here and reports the damage
            raise CorruptRecordError(f"{topic}-{partition}: the batch at offset {base_offset} has format"
                                     f" {batch[BATCH_MAGIC]}, this shmlog reads format 2")
        if check_crcs and crc32c(0, batch + BATCH_CRC_FROM, <size_t>(batch_end - batch) - BATCH_CRC_FROM) != be32(batch + BATCH_CRC):
            if records:
                break
            raise CorruptRecordError(f"{topic}-{partition}: the checksum of the batch at offset {base_offset} is wrong;"
                                     " seek past it, or look at it with: shmlog segment verify FILE")
        last_offset = base_offset + <int32_t>be32(batch + BATCH_LAST_DELTA)
        attributes = be16(batch + BATCH_ATTRIBUTES)
        if attributes & BATCH_CONTROL or last_offset < from_offset:
            batch = batch_end
            next_offset = max(next_offset, last_offset + 1)
            continue
        if attributes & BATCH_CODEC_MASK:
            if records:
                break
            raise CorruptRecordError(f"{topic}-{partition}: the batch at offset {base_offset} is compressed with codec"
                                     f" {attributes & BATCH_CODEC_MASK}: record.expansion makes it plain first")
        count = be32(batch + BATCH_COUNT)
        base_timestamp = <int64_t>be64(batch + BATCH_BASE_TIMESTAMP)
        max_timestamp = <int64_t>be64(batch + BATCH_MAX_TIMESTAMP)
        p = batch + BATCH_HEADER_BYTES
        delta = -1
        for k in range(count):
            p = get_record(p, batch_end, &fields)
            if p == NULL or fields.offset_delta <= delta or fields.offset_delta > last_offset - base_offset:
                if records:
                    return records, next_offset, batch - start
                raise CorruptRecordError(f"{topic}-{partition}: record {k} of the batch at offset {base_offset} is"
                                         " damaged although its checksum is right; seek past the batch")
            delta = fields.offset_delta
            if base_offset + delta < from_offset:
                continue
            if room == 0:
                return records, next_offset, batch - start
            record = Record.__new__(Record)
            record.topic = topic
            record.partition = partition
            record.offset = base_offset + delta
            record.timestamp_ms = max_timestamp if attributes & BATCH_LOG_APPEND_TIME else base_timestamp + fields.timestamp_delta
            record.chunk = chunk
            record.key_at = fields.key - start
            record.key_length = <Py_ssize_t>fields.key_length
            record.value_at = fields.value - start
            record.value_length = <Py_ssize_t>fields.value_length
            record.headers_at = fields.headers - start
            record.headers_end = fields.end - start
            record.header_count = <int>fields.header_count
            PyList_Append(records, record)
            room -= 1
            next_offset = record.offset + 1
        if p != batch_end:
            if records:
                return records, next_offset, batch - start
            raise CorruptRecordError(f"{topic}-{partition}: {batch_end - p} bytes follow the last record of the batch at"
                                     f" offset {base_offset}; seek past the batch")
        batch = batch_end
        next_offset = max(next_offset, last_offset + 1)
    return records, next_offset, batch - start
