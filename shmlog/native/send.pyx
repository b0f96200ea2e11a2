# cython: language_level=3, boundscheck=False, wraparound=False
"""The way of a record from send() into a lane: what a producer does for every record."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint32_t, uint64_t

import shmlog.arguments as arguments
from shmlog.errors import HandleClosedError, UnknownTopicOrPartitionError
from shmlog.limits import TIMESTAMP_MS_MAX
from shmlog.native.delivery cimport BatchResult, Delivery
from shmlog.native.delivery import PENDING
from shmlog.native.lane cimport LaneWriter, record_source
from shmlog.native.mapping cimport Mapping

cdef extern from "futex.h" nogil:
    int64_t wall_ms()
    int64_t monotonic_ns()

cdef extern from "murmur2.h" nogil:
    uint32_t murmur2(const unsigned char *data, size_t length)

cdef extern from "batch.h" nogil:
    uint64_t zigzag(int64_t v)
    size_t varint_bytes(uint64_t z)
    unsigned char *put_varint(unsigned char *p, uint64_t z)


cdef int64_t _TIMESTAMP_MS_MAX = TIMESTAMP_MS_MAX


cdef class TopicLanes:
    """The lanes of one producer to one topic, by partition; None where none is open yet."""

    def __init__(self, str topic not None, int32_t partition_count, int64_t refresh_ms):
        self.topic = topic
        self.partition_count = partition_count
        self.refresh_ms = refresh_ms
        self.lanes = [None] * partition_count
        self.sticky = -1

    def grow(self, int32_t partition_count, int64_t refresh_ms):
        self.refresh_ms = refresh_ms
        if partition_count > self.partition_count:
            self.lanes.extend([None] * (partition_count - self.partition_count))
            self.partition_count = partition_count


def encode_headers(headers):
    """(count, encoded headers): what follows the count in a v2 record. Names are str, values bytes or None."""
    cdef bytearray out = bytearray()
    cdef unsigned char scratch[10]
    cdef unsigned char *end
    cdef int count = 0
    if not isinstance(headers, (list, tuple)):
        headers = arguments.header_pairs(headers)
    for pair in headers:
        if not PyTuple_CheckExact(pair) or len(<tuple>pair) != 2:
            pair = arguments.header_pair(pair, headers)
        name, content = <tuple>pair
        if not PyUnicode_CheckExact(name) or not (content is None or PyBytes_CheckExact(content)):
            name, content = arguments.header_pair(pair, headers)
        try:
            encoded = (<str>name).encode()
        except UnicodeEncodeError:
            arguments.text(name, "the name of a header")
            raise
        end = put_varint(scratch, zigzag(len(encoded)))
        out += scratch[:end - scratch]
        out += encoded
        end = put_varint(scratch, zigzag(-1 if content is None else len(content)))
        out += scratch[:end - scratch]
        if content is not None:
            out += content
        count += 1
    return count, bytes(out)


@cython.final
cdef class Deliveries:
    """See send.pyi."""

    cdef list runs          # (batch, first index in it), one per batch
    cdef list starts        # how many records come before each run
    cdef object timestamps  # list of int
    cdef Py_ssize_t count

    def __cinit__(self):
        self.runs = []
        self.starts = []
        self.timestamps = []

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t k):
        cdef BatchResult batch
        if k < 0:
            k += self.count
        if not 0 <= k < self.count:
            raise IndexError(f"there are {self.count} deliveries, none has number {k}")
        from bisect import bisect_right
        run = bisect_right(self.starts, k) - 1
        batch, first = self.runs[run]
        return batch.delivery(first + k - self.starts[run], self.timestamps[k])

    def __await__(self):
        cdef Py_ssize_t k
        for k in range(len(self.runs)):
            yield from (<BatchResult>self.runs[k][0]).delivery(0, 0).__await__()
        return self.result()

    def result(self, timeout=None):
        """Wait for all; returns their offsets in order. Raises the first error."""
        cdef BatchResult batch
        cdef list offsets = []
        cdef Py_ssize_t k
        timeout = arguments.seconds(timeout)
        cdef double deadline = 0.0 if timeout is None else monotonic_ns() / 1e9 + <double>timeout
        for k in range(len(self.runs)):
            batch, first = self.runs[k]
            end = self.starts[k + 1] if k + 1 < len(self.runs) else self.count
            batch.delivery(0, 0).result(None if timeout is None else max(0.0, deadline - monotonic_ns() / 1e9))
            offsets.extend(range(batch.base_offset + first, batch.base_offset + first + end - self.starts[k])
                           if batch.base_offset >= 0 else [-1] * (end - self.starts[k]))
        return offsets


cdef class SendPath:
    """See send.pyi."""

    def __init__(self, Mapping handle not None, *, key_to_bytes, value_to_bytes, bint serializes_keys, bint serializes_values,
                 partitioner=None, int64_t batch_size=16384, uint64_t seed=1):
        self.handle = handle
        self.topics = {}
        self.completed = []
        self.key_to_bytes = key_to_bytes
        self.value_to_bytes = value_to_bytes
        self.serializes_keys = serializes_keys
        self.serializes_values = serializes_values
        self.partitioner = partitioner
        self.batch_size = batch_size
        self.random = seed | 1
        self.shut = False

    cdef int check(self) except -1:
        if self.shut:
            raise HandleClosedError("this producer is closed; make a new one with cluster.producer()")
        self.handle.check()
        return 0

    cdef TopicLanes lanes_of(self, topic):
        if not PyUnicode_CheckExact(topic):
            topic = arguments.text(topic, "topic")
        lanes = self.topics.get(topic)
        if lanes is None:
            lanes = self._open_topic(topic)  # enters it into topics: of several threads, one does
        return <TopicLanes>lanes

    cdef int32_t number(self, TopicLanes lanes, partition, name) except? -1:
        """The number of a partition that somebody chose, within 31 bits; whether the topic has it shows later."""
        cdef int overflow = 0
        cdef long long number
        if not PyLong_CheckExact(partition):
            partition = arguments.integer(partition, name)
        number = PyLong_AsLongLongAndOverflow(partition, &overflow)
        if overflow or not 0 <= number <= INT32_MAX:
            raise self.unknown(lanes, partition)
        return <int32_t>number

    cdef unknown(self, TopicLanes lanes, partition):
        return UnknownTopicOrPartitionError(
            f"topic {lanes.topic!r} has partitions 0 to {lanes.partition_count - 1}, not {partition}")

    cdef int32_t choose(self, TopicLanes lanes, key, int64_t value_length) except? -1:
        """The partition of a record: murmur2 of its key; without a key one partition for about batch_size bytes, then
        another (KIP-794); or what the user's partitioner says."""
        if self.partitioner is not None:
            return self.number(lanes, self.partitioner(lanes.topic, key, lanes.partition_count), "what the partitioner returns")
        if key is not None:
            return <int32_t>((murmur2(<const unsigned char *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)) & 0x7FFFFFFF)
                             % <uint32_t>lanes.partition_count)
        if lanes.sticky < 0 or lanes.sticky_bytes >= self.batch_size:
            self.random ^= self.random << 13
            self.random ^= self.random >> 7
            self.random ^= self.random << 17
            if lanes.partition_count > 1 and lanes.sticky >= 0:
                lanes.sticky = <int32_t>((lanes.sticky + 1 + self.random % <uint64_t>(lanes.partition_count - 1)) % lanes.partition_count)
            else:
                lanes.sticky = <int32_t>(self.random % <uint64_t>lanes.partition_count)
            lanes.sticky_bytes = 0
        lanes.sticky_bytes += value_length + 10
        return lanes.sticky

    cdef BatchResult accept(self, TopicLanes lanes, value, key, headers, partition, timestamp_ms, on_delivery,
                            uint32_t *index, int64_t *timestamp):
        cdef record_source record
        cdef LaneWriter lane
        cdef BatchResult batch
        cdef int32_t number
        cdef Delivery delivery
        cdef bytes header_bytes
        cdef int64_t deadline_ns = 0
        cdef int overflow = 0
        if self.serializes_values or not PyBytes_CheckExact(value):
            value = <bytes>self.value_to_bytes(value)
        if self.serializes_keys or (key is not None and not PyBytes_CheckExact(key)):
            key = <bytes>self.key_to_bytes(key)
        record.key_length = -1
        record.key = NULL
        if key is not None:
            record.key = <const unsigned char *>PyBytes_AS_STRING(key)
            record.key_length = PyBytes_GET_SIZE(key)
        record.value_length = -1
        record.value = NULL
        if value is not None:
            record.value = <const unsigned char *>PyBytes_AS_STRING(value)
            record.value_length = PyBytes_GET_SIZE(value)
        record.header_count = 0
        record.header_bytes = 0
        record.headers = NULL
        if headers is not None:
            record.header_count, header_bytes = encode_headers(headers)
            record.headers = <const unsigned char *>PyBytes_AS_STRING(header_bytes)
            record.header_bytes = PyBytes_GET_SIZE(header_bytes)
        if timestamp_ms is None:
            record.timestamp_ms = wall_ms()
            if record.timestamp_ms >= lanes.refresh_ms:
                self._refresh(lanes)
        else:
            record.timestamp_ms = -1
            if PyLong_CheckExact(timestamp_ms):
                record.timestamp_ms = PyLong_AsLongLongAndOverflow(timestamp_ms, &overflow)
            if not 0 <= record.timestamp_ms <= _TIMESTAMP_MS_MAX:
                record.timestamp_ms = arguments.timestamp_ms(timestamp_ms)
        if on_delivery is not None and not callable(on_delivery):
            raise arguments.refusal("on_delivery", "a function or None", on_delivery)
        if partition is None:
            number = self.choose(lanes, key, record.value_length)
        else:
            number = self.number(lanes, partition, "partition")
        if number >= lanes.partition_count:
            self._refresh(lanes)  # partitions may have been added
            if number >= lanes.partition_count:
                raise self.unknown(lanes, number)
        if self.shut:
            self.check()  # closed by another thread, while a serializer or a partitioner ran
        while True:
            lane = <LaneWriter>lanes.lanes[number]
            if lane is None or lane.attention:
                lane = self._attend(lane) if lane is not None else self._open_lane(lanes, number)
            batch = lane.append(&record)
            if batch is not None:
                break
            deadline_ns = self._wait_for_room(lane, deadline_ns)
        index[0] = batch.count - 1
        timestamp[0] = record.timestamp_ms
        if on_delivery is not None:
            delivery = batch.delivery(index[0], timestamp[0])
            if batch.callbacks is None:
                batch.callbacks = []
            batch.callbacks.append((delivery, on_delivery))
            if batch.status != PENDING:
                self.completed.append(batch)  # settled by another thread just now
        if lane.attention:
            self._hand_over(lane, batch)
        return batch

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None, on_delivery=None):
        cdef uint32_t index = 0
        cdef int64_t timestamp = 0
        cdef BatchResult batch
        self.check()
        batch = self.accept(self.lanes_of(topic), value, key, headers, partition, timestamp_ms, on_delivery, &index, &timestamp)
        if self.completed:
            self._run_callbacks()
        return batch.delivery(index, timestamp)

    def send_many(self, topic, values, keys=None, headers=None, partition=None, timestamps_ms=None):
        cdef Deliveries deliveries = Deliveries()
        self._send_rest(deliveries, topic, values, keys, headers, partition, timestamps_ms)
        return deliveries

    @cython.boundscheck(True)  # a serializer may change the lists
    def _send_rest(self, Deliveries deliveries, topic, values, keys, headers, partition, timestamps_ms):
        """Send those that `deliveries` does not have yet. Interrupted, it is called again with the same."""
        cdef uint32_t index = 0, expected = 0
        cdef int64_t timestamp = 0
        cdef Py_ssize_t k, count
        cdef BatchResult batch
        cdef BatchResult last = None
        cdef TopicLanes lanes
        self.check()
        lanes = self.lanes_of(topic)
        values = arguments.sequence(values, "values")
        count = len(values)
        keys = arguments.column(keys, "keys", count)
        headers = arguments.column(headers, "headers", count)
        timestamps_ms = arguments.column(timestamps_ms, "timestamps_ms", count)
        k = deliveries.count
        try:
            for k in range(deliveries.count, count):
                batch = self.accept(lanes, values[k], None if keys is None else keys[k], None if headers is None else headers[k],
                                    partition, None if timestamps_ms is None else timestamps_ms[k], None, &index, &timestamp)
                if batch is not last or index != expected:
                    deliveries.runs.append((batch, index))
                    deliveries.starts.append(k)
                    last = batch
                expected = index + 1  # unless another thread sends in between
                deliveries.timestamps.append(timestamp)
                deliveries.count = k + 1
        except Exception as error:
            error.add_note(f"this was record {k} (from 0) of {count} in send_many(); those before it were accepted")
            raise
        if self.completed:
            self._run_callbacks()
