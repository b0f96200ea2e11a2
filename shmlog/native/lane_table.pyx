# cython: language_level=3, boundscheck=False, wraparound=False
"""The lanes that an owner takes from, and the doorbells that it rings."""

from libc.stdint cimport INT64_MAX, int16_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from shmlog.native.mapping cimport (
    Mapping, shm_fence_seq_cst, shm_load_acquire, shm_load_relaxed, shm_store_relaxed, shm_store_release,
)

from shmlog.native.packer cimport BatchPacker

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()
    int64_t wall_ms()
    int bell_ring_if_sleeping(unsigned char *bell)

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES

cdef extern from "layout.h" nogil:
    enum: CTL_LANES, CTL_LANE_SLOT_BYTES, CTL_COUNTERS, COUNTER_WAKES
    enum: LANE_HEAD, LANE_STATE, LANE_ERROR, LANE_LINGER_US, LANE_DATA, LANE_STATE_CLOSING, LANE_STATE_CLOSED
    enum: FRAME_BYTES, BELL_SLEEPING


cdef class LaneTable:
    """Base of Publisher; see publish.pyi."""

    def __init__(self, Mapping control not None, BatchPacker packer not None):
        control.check()
        self.control = control
        self.ctl = control.base
        self.packer = packer
        self.topic_codec = -1
        self.demand()
        self.lane_mappings = {}
        self.client_mappings = {}

    def __dealloc__(self):
        for k in range(self.lane_count):
            free(self.lanes[k])
        free(self.lanes)
        free(self.bells)

    def attach_lane(self, Mapping mapping not None, *, uint64_t lane_id, uint32_t slot, int64_t producer_id,
                    int16_t producer_epoch, int64_t max_batch_bytes, int codec=0, int level=0):
        cdef lane_reader *lane
        mapping.check()
        self.packer.prepare(codec, level)
        if self.lane_count == self.lane_capacity:
            self.lane_capacity = 2 * self.lane_capacity or 8
            self.lanes = <lane_reader **>realloc(self.lanes, self.lane_capacity * sizeof(lane_reader *))
            if self.lanes == NULL:
                raise MemoryError
        lane = <lane_reader *>calloc(1, sizeof(lane_reader))
        if lane == NULL:
            raise MemoryError
        lane.base = mapping.base
        lane.data_bytes = mapping.size_bytes - LANE_DATA
        # Aligned even if its producer has stored something else since open_lane looked.
        lane.cursor = shm_load_acquire(lane.base + LANE_HEAD) & ~<uint64_t>7
        lane.lane_id = lane_id
        lane.slot = slot
        lane.producer_id = producer_id
        lane.producer_epoch = producer_epoch
        lane.max_frame = <uint32_t>(max_batch_bytes - BATCH_HEADER_BYTES + FRAME_BYTES)
        lane.linger_ns = <int64_t>min(shm_load_relaxed(lane.base + LANE_LINGER_US), <uint64_t>3600000000) * 1000
        # Nothing is taken from a lane that a predecessor closed: its producer carries the rest into another one.
        lane.stopped = <int>shm_load_relaxed(lane.base + LANE_STATE)
        if lane.stopped < LANE_STATE_CLOSED:
            lane.stopped = 0
        lane.announced = lane.stopped
        lane.last_ns = monotonic_ns()
        lane.own_codec = codec
        lane.own_level = level
        self._choose_codec(lane)
        self.lanes[self.lane_count] = lane
        self.lane_count += 1
        self.lane_mappings[lane_id] = mapping
        shm_store_relaxed(self.ctl + CTL_LANES + slot * CTL_LANE_SLOT_BYTES, lane_id)

    cdef lane_reader *_lane(self, uint64_t lane_id) except NULL:
        for k in range(self.lane_count):
            if self.lanes[k].lane_id == lane_id:
                return self.lanes[k]
        raise KeyError(lane_id)

    def begin_close(self, uint64_t lane_id):
        cdef lane_reader *lane = self._lane(lane_id)
        lane.closing = 1
        lane.close_pos = lane.cursor
        if not lane.stopped:
            shm_store_relaxed(lane.base + LANE_STATE, LANE_STATE_CLOSING)
        # SYNC POINT lane-close: pairs with lane-announce in LaneWriter._announce. Either the producer sees that the lane closes, or the owner
        # sees its last word.
        shm_fence_seq_cst()

    def is_drained(self, uint64_t lane_id):
        """Nothing is left to take (asked after begin_close, between runs).

        What was there when it began to close is no more than a lane holds. A producer that goes on behind that does not
        care that its lane closes, and holds nobody up: an honest one carries the rest into another lane.
        """
        cdef lane_reader *lane = self._lane(lane_id)
        return not lane_has_work(lane) or lane.cursor - lane.close_pos > lane.data_bytes

    def detach_lane(self, uint64_t lane_id):
        """Forget a drained lane, tell its producer, free its slot; returns how many records it brought."""
        cdef lane_reader *lane = self._lane(lane_id)
        cdef uint64_t records = lane.records
        cdef size_t k
        if not lane.stopped:
            # SYNC POINT lane-closed: pairs with lane-state: who sees it sees the last head.
            shm_store_release(lane.base + LANE_STATE, LANE_STATE_CLOSED)
        self._wake()
        shm_store_relaxed(self.ctl + CTL_LANES + lane.slot * CTL_LANE_SLOT_BYTES, 0)
        for k in range(self.lane_count):
            if self.lanes[k] == lane:
                self.lane_count -= 1
                self.lanes[k] = self.lanes[self.lane_count]
                break
        free(lane)
        self.lane_mappings.pop(lane_id)
        return records

    def compress_all(self, int codec, int level):
        """What the topic says about compression, from the next batch on; a `codec` of -1: as each producer asked."""
        cdef size_t k
        if codec >= 0:
            self.packer.prepare(codec, level)
        self.topic_codec = codec
        self.topic_level = level
        for k in range(self.lane_count):
            self._choose_codec(self.lanes[k])

    cdef void _choose_codec(self, lane_reader *lane) noexcept nogil:
        lane.codec = self.topic_codec if self.topic_codec >= 0 else lane.own_codec
        lane.level = self.topic_level if self.topic_codec >= 0 else lane.own_level

    def demand(self, *, bint log_append_time=False, int64_t before_max_ms=INT64_MAX, int64_t after_max_ms=INT64_MAX, bint keys=False):
        """What the topic says about times and keys of records, from the next group on. Times that it sets itself have no
        bounds."""
        self.before_max_ms = INT64_MAX if log_append_time else before_max_ms
        self.after_max_ms = INT64_MAX if log_append_time else after_max_ms
        self.terms.log_append_time = log_append_time
        self.terms.needs_keys = keys

    @property
    def log_append_time(self):
        return bool(self.terms.log_append_time)

    cdef void _date_group(self) noexcept nogil:
        """It is now for all that a group publishes."""
        cdef int64_t now_ms = wall_ms()
        self.terms.append_ms = now_ms
        self.terms.earliest_ms = now_ms - self.before_max_ms
        self.terms.latest_ms = now_ms + min(self.after_max_ms, INT64_MAX - now_ms)

    def lane_ids(self):
        return list(self.lane_mappings)

    def lane_state(self, uint64_t lane_id):
        """(stopped, state cell, error cell) of a lane."""
        cdef lane_reader *lane = self._lane(lane_id)
        return bool(lane.stopped), shm_load_relaxed(lane.base + LANE_STATE), shm_load_relaxed(lane.base + LANE_ERROR)

    def idle_lanes(self, int64_t now_ns, int64_t idle_ns):
        """Lanes that brought nothing for `idle_ns`, and do not wait for a larger ring."""
        return [self.lanes[k].lane_id for k in range(self.lane_count)
                if not self.lanes[k].closing and not self.lanes[k].waits_for_ring and now_ns - self.lanes[k].last_ns > idle_ns]

    def attach_client(self, client_id, Mapping mapping not None):
        mapping._check_writable(BELL_SLEEPING, 4)
        self.client_mappings[client_id] = mapping
        self._list_bells()
        self._wake()  # it may have slept through what was announced before the owner knew it

    def detach_client(self, client_id):
        self.client_mappings.pop(client_id, None)
        self._list_bells()

    def _list_bells(self):
        cdef Mapping mapping
        if <size_t>len(self.client_mappings) > self.bell_capacity:
            self.bell_capacity = 2 * len(self.client_mappings)
            self.bells = <unsigned char **>realloc(self.bells, self.bell_capacity * sizeof(unsigned char *))
            if self.bells == NULL:
                raise MemoryError
        self.bell_count = 0
        for mapping in self.client_mappings.values():
            self.bells[self.bell_count] = mapping.base
            self.bell_count += 1

    cdef void _announce_stops(self) noexcept nogil:
        """Tell producers that their lanes are stopped: after the heads, which say what of them is published."""
        cdef size_t k
        cdef lane_reader *lane
        for k in range(self.lane_count):
            lane = self.lanes[k]
            if lane.stopped and not lane.announced:
                lane.announced = 1
                # SYNC POINT lane-closed: as in detach_lane.
                shm_store_release(lane.base + LANE_STATE, lane.stopped)
        self._wake()

    cdef bint _lanes_have_work(self) noexcept nogil:
        cdef size_t k
        for k in range(self.lane_count):
            if not self.lanes[k].waits_for_ring and lane_has_work(self.lanes[k]):
                return True
        return False

    cdef void _wake(self) noexcept nogil:
        cdef size_t k
        # SYNC POINT bell-ring: pairs with bell-sleep in Doorbell.prepare.
        shm_fence_seq_cst()
        for k in range(self.bell_count):
            if bell_ring_if_sleeping(self.bells[k]):
                self._count(COUNTER_WAKES, 1)

    cdef void _count(self, int counter, uint64_t amount) noexcept nogil:
        cdef unsigned char *cell = self.ctl + CTL_COUNTERS + 8 * counter
        shm_store_relaxed(cell, shm_load_relaxed(cell) + amount)
