from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t

from shmlog.native.mapping cimport Mapping
from shmlog.native.packer cimport BatchPacker

cdef extern from "handoff.h" nogil:
    enum: TAKE_NOTHING, TAKE_BATCH, TAKE_LATER, TAKE_GARBAGE, GATHER_NS
    ctypedef struct lane_reader:
        unsigned char *base
        uint64_t data_bytes, cursor, lane_id, records, close_pos
        int64_t producer_id, linger_ns, last_ns
        int16_t producer_epoch
        uint32_t max_frame, slot
        int closing, stopped, announced, waits_for_ring, codec, level, own_codec, own_level
    ctypedef struct taken_batch:
        unsigned char *frame
        uint32_t end, count
        int32_t sequence
        int from_word
    int lane_take(lane_reader *lane, taken_batch *taken, int64_t now, int64_t *deadline_ns)
    int lane_has_work(const lane_reader *lane)
    void lane_advance(lane_reader *lane, uint64_t cursor)

cdef extern from "assemble.h" nogil:
    ctypedef struct append_terms:
        int64_t append_ms, earliest_ms, latest_ms
        int log_append_time, needs_keys


cdef class LaneTable:
    cdef Mapping control
    cdef unsigned char *ctl
    cdef lane_reader **lanes
    cdef size_t lane_count, lane_capacity
    cdef unsigned char **bells
    cdef size_t bell_count, bell_capacity
    cdef dict lane_mappings, client_mappings
    cdef BatchPacker packer
    cdef int topic_codec, topic_level
    cdef int64_t before_max_ms, after_max_ms
    cdef append_terms terms

    cdef lane_reader *_lane(self, uint64_t lane_id) except NULL
    cdef void _choose_codec(self, lane_reader *lane) noexcept nogil
    cdef void _date_group(self) noexcept nogil
    cdef bint _lanes_have_work(self) noexcept nogil
    cdef void _announce_stops(self) noexcept nogil
    cdef void _wake(self) noexcept nogil
    cdef void _count(self, int counter, uint64_t amount) noexcept nogil
