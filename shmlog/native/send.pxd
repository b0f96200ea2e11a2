from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.native.delivery cimport BatchResult, Deliveries
from shmlog.native.lane cimport LaneWriter, record_run, record_source
from shmlog.native.mapping cimport Mapping
from shmlog.native.topic_lanes cimport TopicLanes


cdef class SendPath:
    cdef Mapping handle
    cdef readonly dict topics
    cdef readonly list completed
    cdef object key_to_bytes, value_to_bytes, partitioner
    cdef bint serializes_keys, serializes_values
    cdef public bint shut
    cdef int64_t batch_size
    cdef uint64_t random

    cdef int check(self) except -1
    cdef TopicLanes lanes_of(self, topic)
    cdef int32_t number(self, TopicLanes lanes, partition, name) except? -1
    cdef unknown(self, TopicLanes lanes, partition)
    cdef int32_t choose(self, TopicLanes lanes, key, int64_t value_length) except? -1
    cdef BatchResult accept(self, TopicLanes lanes, value, key, headers, partition, timestamp_ms, on_delivery,
                            uint32_t *index, int64_t *timestamp)
    cdef LaneWriter ready(self, TopicLanes lanes, int32_t number)
    cdef int stick(self, TopicLanes lanes) noexcept
    cdef int32_t only(self, TopicLanes lanes, partition) except? -1
    cdef int64_t advance(self, TopicLanes lanes, int32_t number, record_run *run, Deliveries deliveries) except -1
    cdef int one(self, TopicLanes lanes, int32_t number, record_run *run, Deliveries deliveries) except -1
    cdef int64_t now(self, TopicLanes lanes) except -1
