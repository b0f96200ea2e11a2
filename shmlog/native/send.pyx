# cython: language_level=3, boundscheck=False, wraparound=False
"""The way of a record from send() into a lane: what a producer does for every record."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport INT32_MAX, INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

import shmlog.arguments as arguments
from shmlog.errors import HandleClosedError, InvalidArgumentError, UnknownTopicOrPartitionError
from shmlog.limits import METADATA_MAX_AGE_MS, TIMESTAMP_MS_MAX
from shmlog.native.column cimport Column
from shmlog.native.delivery cimport RESULT_PENDING, BatchResult, Deliveries, Delivery
from shmlog.native.header_codec import encode_headers
from shmlog.native.lane cimport COLUMN_OBJECTS, LaneWriter, column_at, record_run, record_source
from shmlog.native.mapping cimport Mapping
from shmlog.native.topic_lanes cimport TopicLanes, recent_wall_ms

cdef extern from "murmur2.h" nogil:
    uint32_t murmur2(const unsigned char *data, size_t length)

cdef int64_t _TIMESTAMP_MS_MAX = TIMESTAMP_MS_MAX
cdef uint64_t _FRESH_MS = METADATA_MAX_AGE_MS


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

    @cython.final
    cdef inline int check(self) except -1:
        if self.shut:
            raise HandleClosedError("this producer is closed; make a new one with cluster.producer()")
        self.handle.check()
        return 0

    @cython.final
    cdef inline TopicLanes lanes_of(self, topic):
        if not PyUnicode_CheckExact(topic):
            topic = arguments.text(topic, "topic")
        lanes = self.topics.get(topic)
        if lanes is None:
            lanes = self._open_topic(topic)  # enters it into topics: of several threads, one does
        return <TopicLanes>lanes

    @cython.final
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

    @cython.final
    cdef inline int32_t choose(self, TopicLanes lanes, key, int64_t value_length) except? -1:
        """The partition of a record: murmur2 of its key; without a key one partition for about batch_size bytes, then
        another (KIP-794); or what the user's partitioner says."""
        if self.partitioner is not None:
            return self.number(lanes, self.partitioner(lanes.topic, key, lanes.partition_count), "what the partitioner returns")
        if lanes.partition_count == 1:
            return 0
        if key is not None:
            return <int32_t>((murmur2(<const unsigned char *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)) & 0x7FFFFFFF)
                             % <uint32_t>lanes.partition_count)
        self.stick(lanes)
        lanes.sticky_bytes += value_length + 10
        return lanes.sticky

    @cython.final
    cdef int stick(self, TopicLanes lanes) noexcept:
        """See that the partition of records without key, lanes.sticky, is one that has not had its share yet."""
        if lanes.sticky < 0 or lanes.sticky_bytes >= self.batch_size:
            self.random ^= self.random << 13
            self.random ^= self.random >> 7
            self.random ^= self.random << 17
            if lanes.partition_count > 1 and lanes.sticky >= 0:
                lanes.sticky = <int32_t>((lanes.sticky + 1 + self.random % <uint64_t>(lanes.partition_count - 1)) % lanes.partition_count)
            else:
                lanes.sticky = <int32_t>(self.random % <uint64_t>lanes.partition_count)
            lanes.sticky_bytes = 0

    @cython.final
    cdef inline int64_t now(self, TopicLanes lanes) except -1:
        """The time that a record gets; from time to time the topic's partitions are counted again."""
        cdef int64_t now_ms = recent_wall_ms()
        # One comparison for both: when the clock has been put back, the unsigned difference is enormous.
        if <uint64_t>(now_ms - lanes.fresh_from_ms) >= _FRESH_MS:
            self._refresh(lanes)
        return now_ms

    @cython.final
    cdef BatchResult accept(self, TopicLanes lanes, value, key, headers, partition, timestamp_ms, on_delivery,
                            uint32_t *index, int64_t *timestamp):
        cdef record_source record
        cdef LaneWriter lane
        cdef BatchResult batch
        cdef int32_t number
        cdef Delivery delivery
        cdef bytes header_bytes
        cdef int64_t deadline_ns = 0
        cdef uint64_t free
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
            record.timestamp_ms = self.now(lanes)
        else:
            record.timestamp_ms = -1
            if PyLong_CheckExact(timestamp_ms):
                record.timestamp_ms = PyLong_AsLongLongAndOverflow(timestamp_ms, &overflow)
            if not 0 <= record.timestamp_ms <= _TIMESTAMP_MS_MAX:
                record.timestamp_ms = arguments.timestamp_ms(timestamp_ms)
            if not lanes.takes(record.timestamp_ms):
                self._permit(lanes, record.timestamp_ms, key is not None)
        if key is None and lanes.needs_keys:
            self._permit(lanes, record.timestamp_ms, False)
        if on_delivery is not None and not callable(on_delivery):
            raise arguments.refusal("on_delivery", "a function or None", on_delivery)
        if partition is None:
            number = self.choose(lanes, key, record.value_length)
        else:
            number = self.number(lanes, partition, "partition")
        while True:
            lane = self.ready(lanes, number)
            free = lane.free
            batch = lane.append(&record)
            if batch is not None:
                break
            deadline_ns = self._wait_for_room(lane, free, deadline_ns)
        index[0] = batch.count - 1
        timestamp[0] = record.timestamp_ms
        if on_delivery is not None:
            delivery = batch.delivery(index[0], timestamp[0])
            if batch.callbacks is None:
                batch.callbacks = []
            batch.callbacks.append((delivery, on_delivery))
            if batch.status != RESULT_PENDING:
                self.completed.append(batch)  # settled by another thread just now
        if lane.attention:
            self._hand_over(lane, batch)
        return batch

    @cython.final
    cdef inline LaneWriter ready(self, TopicLanes lanes, int32_t number):
        """The lane of a partition, opened or replaced if need be."""
        cdef LaneWriter lane
        if number >= lanes.partition_count:
            self._refresh(lanes)  # partitions may have been added
            if number >= lanes.partition_count:
                raise self.unknown(lanes, number)
        if self.shut:
            self.check()  # closed by another thread, while a serializer or a partitioner ran
        lane = <LaneWriter>lanes.lanes[number]
        if lane is None:
            return self._open_lane(lanes, number)
        return self._attend(lane) if lane.attention else lane

    def send(self, topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None, on_delivery=None):
        cdef uint32_t index = 0
        cdef int64_t timestamp = 0
        cdef BatchResult batch
        self.check()
        batch = self.accept(self.lanes_of(topic), value, key, headers, partition, timestamp_ms, on_delivery, &index, &timestamp)
        if self.completed:
            self._run_callbacks()
        return batch.delivery(index, timestamp)

    # --- many records at once -----------------------------------------------------------------------------------------

    @cython.final
    cdef int32_t only(self, TopicLanes lanes, partition) except? -1:
        """The partition that all records of a call go to, -1 if there are several."""
        if partition is not None:
            return self.number(lanes, partition, "partition")
        return 0 if lanes.partition_count == 1 and self.partitioner is None else -1

    @cython.final
    cdef int64_t advance(self, TopicLanes lanes, int32_t number, record_run *run, Deliveries deliveries) except -1:
        """Send the next records of a run together, without keys that choose (`number` -1: the sticky partition); returns
        how many. 0: the next record needs more than this."""
        cdef LaneWriter lane
        cdef BatchResult batch
        cdef const unsigned char *at
        cdef int64_t length, taken, now_ms
        cdef bint sticks = number < 0
        run.quota = INT64_MAX
        run.needs_keys = lanes.needs_keys
        run.earliest_ms = INT64_MIN
        run.latest_ms = INT64_MAX
        if run.timestamps == NULL:
            run.timestamp_ms = self.now(lanes)
        else:
            now_ms = recent_wall_ms()
            if lanes.before_max_ms != INT64_MAX:
                run.earliest_ms = now_ms - lanes.before_max_ms
            run.latest_ms = now_ms + min(lanes.after_max_ms, INT64_MAX - now_ms)
        if sticks:
            self.stick(lanes)
            number = lanes.sticky
            run.quota = self.batch_size - lanes.sticky_bytes
        if self.shut or number >= lanes.partition_count:
            return 0
        lane = <LaneWriter>lanes.lanes[number]
        if lane is None or lane.attention:
            return 0
        if not column_at(&run.values, run.next, &at, &length) or not column_at(&run.keys, run.next, &at, &length):
            return 0
        taken = lane.append_run(run)
        if taken:
            batch = lane.current
            deliveries.add(batch, <uint32_t>(batch.count - taken), taken, 0 if run.timestamps != NULL else run.timestamp_ms)
            run.next += taken
            if sticks:
                lanes.sticky_bytes += run.spent
            if lane.attention:
                self._hand_over(lane, batch)
        return taken

    def send_many(self, topic, values, keys=None, headers=None, partition=None, timestamps_ms=None):
        cdef Deliveries deliveries = Deliveries()
        self._send_rest(deliveries, topic, values, keys, headers, partition, timestamps_ms)
        return deliveries

    @cython.boundscheck(True)  # a serializer may change the lists
    def _send_rest(self, Deliveries deliveries not None, topic, values, keys, headers, partition, timestamps_ms):
        """Send those that `deliveries` does not have yet. Interrupted, it is called again with the same."""
        cdef uint32_t index = 0
        cdef int64_t timestamp = 0
        cdef Py_ssize_t k = deliveries.count, count
        cdef BatchResult batch
        cdef TopicLanes lanes
        cdef record_run run
        cdef int32_t number
        cdef bint together
        self.check()
        lanes = self.lanes_of(topic)
        values = arguments.sequence(values, "values")
        count = len(values)
        keys = arguments.column(keys, "keys", count)
        headers = arguments.column(headers, "headers", count)
        timestamps_ms = arguments.column(timestamps_ms, "timestamps_ms", count)
        memset(&run, 0, sizeof(run))
        together = (headers is None and timestamps_ms is None and not self.serializes_keys and not self.serializes_values
                    and (keys is None or type(keys) in (list, tuple)) and type(values) in (list, tuple))
        if together:
            run.end = count
            run.values.kind = COLUMN_OBJECTS
            run.values.sequence = <PyObject *>values
            if keys is not None:
                run.keys.kind = COLUMN_OBJECTS
                run.keys.sequence = <PyObject *>keys
        try:
            number = self.only(lanes, partition) if count else 0
            together = together and (number >= 0 or (keys is None and self.partitioner is None))
            while k < count:
                if together:
                    run.next = k
                    if self.advance(lanes, number, &run, deliveries):
                        k = run.next
                        continue
                batch = self.accept(lanes, values[k], None if keys is None else keys[k], None if headers is None else headers[k],
                                    partition, None if timestamps_ms is None else timestamps_ms[k], None, &index, &timestamp)
                deliveries.add(batch, index, 1, timestamp)
                k += 1
        except Exception as error:
            error.add_note(f"this was record {k} (from 0) of {count} in send_many(); those before it were accepted")
            raise
        if self.completed:
            self._run_callbacks()

    def send_columns(self, topic, values, keys=None, partition=None, timestamps_ms=None):
        cdef Deliveries deliveries = Deliveries()
        self._send_columns_rest(deliveries, topic, Column(values, "values"), None if keys is None else Column(keys, "keys"),
                                partition, timestamps_ms)
        return deliveries

    def _send_columns_rest(self, Deliveries deliveries not None, topic, Column values not None, Column keys, partition,
                           timestamps_ms):
        """As _send_rest()."""
        cdef TopicLanes lanes
        cdef record_run run
        cdef int32_t number
        self.check()
        lanes = self.lanes_of(topic)
        memset(&run, 0, sizeof(run))
        run.values = values.source
        run.next = deliveries.count
        run.end = values.count
        if keys is not None:
            arguments.equally_many(keys.count, "keys", run.end)
            run.keys = keys.source
        if timestamps_ms is not None:
            if deliveries.timestamps is None:
                deliveries.timestamps = arguments.timestamp_column(timestamps_ms, run.end)
            run.timestamps = <const int64_t *>PyBytes_AS_STRING(deliveries.timestamps)
        try:
            while run.next < run.end:
                number = self.only(lanes, partition)
                if (number < 0 and (keys is not None or self.partitioner is not None)) or not self.advance(lanes, number, &run, deliveries):
                    self.one(lanes, number, &run, deliveries)
        except Exception as error:
            error.add_note(f"this was record {run.next} (from 0) of {run.end} in send_columns(); those before it were accepted")
            raise
        if self.completed:
            self._run_callbacks()

    @cython.final
    cdef int one(self, TopicLanes lanes, int32_t number, record_run *run, Deliveries deliveries) except -1:
        """Send the next record of a run by itself: its key chooses the partition, its lane is new or full, or it is large."""
        cdef record_source record
        cdef BatchResult batch
        cdef LaneWriter lane
        cdef int64_t deadline_ns = 0
        cdef uint64_t free
        record.headers = NULL
        record.header_bytes = 0
        record.header_count = 0
        if not column_at(&run.values, run.next, &record.value, &record.value_length) or \
                not column_at(&run.keys, run.next, &record.key, &record.key_length):
            raise InvalidArgumentError("the offsets of a column were changed while it was sent")
        record.timestamp_ms = self.now(lanes) if run.timestamps == NULL else run.timestamps[run.next]
        if (run.timestamps != NULL and not lanes.takes(record.timestamp_ms)) or (record.key_length < 0 and lanes.needs_keys):
            self._permit(lanes, record.timestamp_ms, record.key_length >= 0)
        if number < 0:
            if self.partitioner is not None:
                key = None if record.key_length < 0 else PyBytes_FromStringAndSize(<const char *>record.key, record.key_length)
                number = self.choose(lanes, key, record.value_length)
            elif record.key_length >= 0:
                number = <int32_t>((murmur2(record.key, <size_t>record.key_length) & 0x7FFFFFFF) % <uint32_t>lanes.partition_count)
            else:
                number = self.choose(lanes, None, record.value_length)
        while True:
            lane = self.ready(lanes, number)
            free = lane.free
            batch = lane.append(&record)
            if batch is not None:
                break
            deadline_ns = self._wait_for_room(lane, free, deadline_ns)
        deliveries.add(batch, batch.count - 1, 1, 0 if run.timestamps != NULL else record.timestamp_ms)
        run.next += 1
        if lane.attention:
            self._hand_over(lane, batch)
        return 0
