# cython: language_level=3, boundscheck=False, wraparound=False
"""The producer's side of a lane: records go in, results come out. shared-memory design: "accepted means send returned"."""

cimport cython
from collections import deque
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.errors import HandleClosedError, LaneQuarantinedError, RecordTooLargeError
from shmlog.native.delivery cimport RESULT_ACKNOWLEDGED, RESULT_PENDING, BatchResult
from shmlog.record_terms import batch_refusal
from shmlog.native.mapping cimport (
    Mapping, shm_cas_release, shm_copy_in, shm_fence_seq_cst, shm_load32_acquire, shm_load32_relaxed, shm_load_acquire,
    shm_load_relaxed, shm_store32_relaxed, shm_store_relaxed, shm_store_release, shm_zero,
)

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()
    int bell_ring_if_sleeping(unsigned char *bell)

cdef extern from "layout.h" nogil:
    enum: LANE_OPEN, LANE_HEAD, LANE_STATE, LANE_ERROR, LANE_FREE, LANE_DATA
    enum: LANE_STATE_OPEN, LANE_STATE_CLOSED, LANE_STATE_STOPPED, LANE_STATE_QUARANTINED
    enum: FRAME_BYTES, FRAME_LENGTH, FRAME_COUNT, FRAME_BASE_TIMESTAMP, FRAME_MAX_TIMESTAMP, FRAME_BASE_SEQUENCE
    enum: FRAME_KIND, FRAME_STATUS, FRAME_ERROR, FRAME_BASE_OFFSET, FRAME_APPEND_MS, FRAME_BEGUN_NS
    enum: FRAME_STATUS_PENDING, FRAME_STATUS_APPENDED, FRAME_STATUS_DUPLICATE, FRAME_STATUS_REJECTED
    enum: CTL_WRITTEN_OFFSET, CTL_WRITTEN_POS, CTL_HW_OFFSET, CTL_HW_POS
    uint64_t OPEN_COUNT_MASK, OPEN_END_MASK
    uint64_t open_word(uint64_t start, uint64_t closed, uint64_t end, uint64_t count)

cdef extern from "run.h" nogil:
    int64_t run_timestamp(const record_run *run, int64_t k)
    int64_t put_run(unsigned char *p, uint64_t room, record_run *run, uint32_t index, int64_t base_timestamp,
                    int64_t max_timestamp)

cdef extern from "encode.h" nogil:
    enum: BATCH_HEADER_BYTES
    uint64_t zigzag(int64_t v)
    size_t varint_bytes(uint64_t z)
    uint64_t record_body_bytes(int64_t timestamp_delta, uint32_t index, int64_t key_length, int64_t value_length,
                               uint32_t header_count, uint64_t header_bytes)
    unsigned char *put_record(unsigned char *p, uint64_t body_bytes, int64_t timestamp_delta, uint32_t index,
                              const unsigned char *key, int64_t key_length, const unsigned char *value,
                              int64_t value_length, uint32_t header_count)

cdef uint64_t SEQUENCE_MASK = 0x7FFFFFFF


@cython.final
cdef class LaneWriter:
    """See lane.pyi."""

    def __init__(self, Mapping mapping not None, Mapping control not None, Mapping bell not None, *, str topic not None,
                 int32_t partition, uint64_t lane_id, int64_t max_batch_bytes, uint32_t batch_size, int acks,
                 int64_t next_sequence, waiter, list completed not None):
        mapping.check()
        control.check()
        bell.check()
        self.mapping = mapping
        self.control = control
        self.bell = bell
        self.topic = topic
        self.partition = partition
        self.lane_id = lane_id
        self.max_batch_bytes = max_batch_bytes
        self.acks = acks
        self.next_sequence = next_sequence
        self.waiter = waiter
        self.completed = completed
        self.base = mapping.base
        self.data_bytes = mapping.size_bytes - LANE_DATA
        self.frame_limit = min(<uint64_t>batch_size + FRAME_BYTES, OPEN_END_MASK, <uint64_t>max_batch_bytes - BATCH_HEADER_BYTES + FRAME_BYTES)
        self.free = self.start = 0
        self.word = shm_load_acquire(self.base + LANE_OPEN)
        self.end = self.count = 0
        self.unacknowledged = deque()
        self.attention = False

    # --- sending --------------------------------------------------------------------------------------------------

    cdef BatchResult append(self, record_source *record):
        """Accept one record; None: the lane is full. The caller has checked that handles and lane are usable."""
        cdef int64_t delta
        cdef uint64_t body, need
        cdef unsigned char *frame
        cdef unsigned char *at
        cdef uint32_t end, count
        if self.spare is None:
            # A new tracked object can set off a garbage collection, and that any Python code, and that another thread's
            # send: so it is made before the first look at the lane's state, and nothing else is until the word is stored.
            self.spare = BatchResult.__new__(BatchResult)
        if self.base == NULL:
            raise HandleClosedError("this producer was closed by another thread; the record was not sent")
        if self.ended:
            return None
        count = self.count
        if count:
            delta = record.timestamp_ms - self.base_timestamp
            body = record_body_bytes(delta, count, record.key_length, record.value_length, record.header_count, record.header_bytes)
            need = body + varint_bytes(zigzag(<int64_t>body))
            end = self.end
            if end + need <= self.frame_limit and count < OPEN_COUNT_MASK and self.start + end + need + 8 - self.free <= self.data_bytes:
                frame = self.frame
                at = put_record(frame + end, body, delta, count, record.key, record.key_length, record.value,
                                record.value_length, record.header_count)
                if record.header_bytes:
                    shm_copy_in(at, record.headers, record.header_bytes)
                if record.timestamp_ms > self.max_timestamp:
                    self.max_timestamp = record.timestamp_ms
                # Two cells in turn: a kill between this store and the swap leaves the cell that the old count selects.
                shm_store_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * (count & 1), <uint64_t>self.max_timestamp)
                if self._count(<uint32_t>(end + need), count + 1):
                    return self.current
            self._close_frame()
        body = record_body_bytes(0, 0, record.key_length, record.value_length, record.header_count, record.header_bytes)
        need = body + varint_bytes(zigzag(<int64_t>body))
        if BATCH_HEADER_BYTES + need > <uint64_t>self.max_batch_bytes:
            raise RecordTooLargeError(
                f"a record of {need} bytes makes a batch of {BATCH_HEADER_BYTES + need} bytes, {self.topic} takes"
                f" {self.max_batch_bytes}: raise max.message.bytes on topic {self.topic!r} or send less")
        if self.unacknowledged:
            self.reclaim()
            if self.count or self.spare is None or self.base == NULL:
                return self.append(record)  # reclaim() let another thread in
        if self.start + FRAME_BYTES + need + 8 - self.free > self.data_bytes:
            self.wanted_bytes = FRAME_BYTES + need + 8
            self.seal()
            return None
        frame = self.base + LANE_DATA + self.start % self.data_bytes
        self._begin(frame, record.timestamp_ms)
        at = put_record(frame + FRAME_BYTES, body, 0, 0, record.key, record.key_length, record.value, record.value_length,
                        record.header_count)
        if record.header_bytes:
            shm_copy_in(at, record.headers, record.header_bytes)
        return self._open(<uint32_t>(FRAME_BYTES + need), 1)

    cdef int64_t append_run(self, record_run *run) except -1:
        """Accept as many of a run's records as one change of the word can count, all of them in `current`; returns how
        many. 0: the next one is for append(), which knows what is the matter. The caller has checked what append()'s has."""
        cdef int64_t taken
        cdef uint32_t count
        cdef unsigned char *frame
        if self.spare is None:
            self.spare = BatchResult.__new__(BatchResult)  # for append()'s reason
        if self.base == NULL or self.ended:
            return 0
        count = self.count
        if count:
            frame = self.frame
            taken = put_run(frame + self.end, self._room(self.end), run, count, self.base_timestamp, self.max_timestamp)
            if taken:
                self.max_timestamp = run.max_timestamp
                shm_store_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * ((count + taken - 1) & 1), <uint64_t>self.max_timestamp)
                if self._count(<uint32_t>(self.end + run.bytes), <uint32_t>(count + taken)):
                    return taken
            self._close_frame()
        if self.unacknowledged:
            self.reclaim()
            if self.count or self.spare is None or self.base == NULL:
                return self.append_run(run)  # reclaim() let another thread in
        frame = self.base + LANE_DATA + self.start % self.data_bytes
        taken = put_run(frame + FRAME_BYTES, self._room(FRAME_BYTES), run, 0, run_timestamp(run, run.next),
                        run_timestamp(run, run.next))
        if not taken:
            return 0
        self._begin(frame, run_timestamp(run, run.next))
        self.max_timestamp = run.max_timestamp
        shm_store_relaxed(frame + FRAME_MAX_TIMESTAMP + 8 * ((taken - 1) & 1), <uint64_t>self.max_timestamp)
        self._open(<uint32_t>(FRAME_BYTES + run.bytes), <uint32_t>taken)
        return taken

    cdef uint64_t _room(self, uint32_t end) noexcept:
        """Bytes that records behind `end` of the frame at `start` may take."""
        cdef uint64_t used = self.start + end + 8 - self.free
        if end >= self.frame_limit or used >= self.data_bytes:
            return 0
        return min(self.frame_limit - end, self.data_bytes - used)

    cdef bint _count(self, uint32_t end, uint32_t count) noexcept:
        """Accept the records that lie behind the open batch's, up to `end` and `count`. False: the owner was faster, and
        they are in no batch."""
        cdef uint64_t word = open_word(self.start, 0, end, count)
        # SYNC POINT handoff-count: pairs with handoff-close, the owner's fetch_or. Release: the records' bytes are
        # visible to whoever sees the new count.
        if not shm_cas_release(self.base + LANE_OPEN, self.word, word):
            return False
        self.word = word
        self.records += count - self.count
        self.bytes += end - self.end
        self.end = end
        self.count = count
        self.current.count = count
        return True

    cdef BatchResult _open(self, uint32_t end, uint32_t count):
        """Accept the records of a new batch, which lie in its frame."""
        cdef BatchResult result
        self.end = end
        self.count = count
        self.records += count
        self.bytes += end - FRAME_BYTES
        result = self.current = self._new_result()
        if end > OPEN_END_MASK:
            self.seal()  # beyond the word's range: a complete frame first, then a word behind it that has nothing open
            return result
        self.word = open_word(self.start, 0, end, count)
        # SYNC POINT handoff-begin: pairs with handoff-take. The frame, and the length and count of the one
        # before, are visible to whoever sees the new start.
        shm_store_release(self.base + LANE_OPEN, self.word)
        self._announce()
        return result

    cdef void _begin(self, unsigned char *frame, int64_t timestamp_ms) noexcept:
        shm_zero(frame, FRAME_BYTES)
        self.frame = frame
        self.base_timestamp = self.max_timestamp = timestamp_ms
        shm_store_relaxed(frame + FRAME_BASE_TIMESTAMP, <uint64_t>timestamp_ms)
        shm_store_relaxed(frame + FRAME_MAX_TIMESTAMP, <uint64_t>timestamp_ms)
        shm_store32_relaxed(frame + FRAME_BASE_SEQUENCE, <uint32_t>self.next_sequence if self.next_sequence >= 0 else 0xFFFFFFFF)

    cdef BatchResult _new_result(self):
        cdef BatchResult result = self.spare
        self.spare = None
        result.topic = self.topic
        result.partition = self.partition
        result.base_offset = -1
        result.count = self.count
        result.pos = self.start
        result.opened_ns = monotonic_ns()
        shm_store_relaxed(self.frame + FRAME_BEGUN_NS, <uint64_t>result.opened_ns)  # before the owner can take the batch
        result.waiter = self.waiter
        result.acks = self.acks
        self.unacknowledged.append(result)
        self.batches += 1
        return result

    cdef void _close_frame(self) noexcept:
        """Write the finished frame's length and count, and step behind it. Only locally: the word still names it."""
        if self.count == 0:
            return
        shm_store32_relaxed(self.frame + FRAME_LENGTH, self.end)
        shm_store32_relaxed(self.frame + FRAME_COUNT, self.count)
        self.current.length = self.end
        self.start += (self.end + 7) & ~<uint64_t>7
        if self.next_sequence >= 0:
            self.next_sequence = (self.next_sequence + self.count) & SEQUENCE_MASK
        self.end = self.count = 0
        self.current = None

    cdef void _announce(self) noexcept:
        """After a store of a new word: wake the owner if it sleeps, and notice if the lane was closed meanwhile."""
        # SYNC POINT lane-announce: pairs with lane-close in LaneTable.begin_close, and as bell-ring with bell-sleep:
        # either the owner sees the word, or this thread sees its flag or its state.
        shm_fence_seq_cst()
        bell_ring_if_sleeping(self.bell.base)
        if shm_load_relaxed(self.base + LANE_STATE) != LANE_STATE_OPEN:
            self.attention = True

    def seal(self):
        """Close the open batch from this side, so that the owner takes it without lingering."""
        cdef uint64_t word
        self.mapping.check()
        self._close_frame()
        word = open_word(self.start, 1, 0, 0)
        if word != self.word:
            self.word = word
            shm_store_release(self.base + LANE_OPEN, word)  # SYNC POINT handoff-seal: pairs with handoff-take
            self._announce()

    # --- results --------------------------------------------------------------------------------------------------

    cpdef int reclaim(self) except -1:
        """Settle batches whose acknowledgement has come and free their room; returns how many were settled."""
        cdef uint64_t head, acknowledged
        cdef int64_t last = 0
        cdef unsigned char *frame
        cdef BatchResult batch
        cdef uint32_t status
        cdef int settled = 0
        self.mapping.check()
        head = shm_load_acquire(self.base + LANE_HEAD)  # SYNC POINT lane-reclaim: pairs with lane-head
        if self.acks == 1:
            shm_load_acquire(self.control.base + CTL_WRITTEN_POS)
            acknowledged = shm_load_relaxed(self.control.base + CTL_WRITTEN_OFFSET)
        else:
            shm_load_acquire(self.control.base + CTL_HW_POS)
            acknowledged = shm_load_relaxed(self.control.base + CTL_HW_OFFSET)
        while self.unacknowledged:
            batch = <BatchResult>self.unacknowledged[0]
            if <int64_t>(head - batch.pos) <= 0:
                break
            if batch is self.current:
                self._close_frame()  # the owner closed it: the word can change no more
            frame = self.base + LANE_DATA + batch.pos % self.data_bytes
            status = shm_load32_relaxed(frame + FRAME_STATUS)
            if status == FRAME_STATUS_APPENDED or status == FRAME_STATUS_DUPLICATE:
                last = <int64_t>shm_load_relaxed(frame + FRAME_BASE_OFFSET) + batch.count
                if self.acks != 0 and <int64_t>acknowledged < last:
                    break
            elif status == FRAME_STATUS_PENDING:
                break  # another replica takes over, and takes it back: the head follows (partition/lane_alignment)
            self.unacknowledged.popleft()  # before anything that could let another thread in
            self.free = batch.pos + ((batch.length + 7) & ~<uint64_t>7)
            settled += 1
            if status == FRAME_STATUS_REJECTED:
                self._fail(batch, batch_refusal(self.topic, self.partition, batch.count, shm_load32_relaxed(frame + FRAME_ERROR)))
                self.attention = True
            elif status == FRAME_STATUS_APPENDED or status == FRAME_STATUS_DUPLICATE:
                if batch.status == RESULT_PENDING:  # else its delivery timeout has passed, and its user was told so
                    batch.base_offset = last - batch.count
                    batch.append_ms = <int64_t>shm_load_relaxed(frame + FRAME_APPEND_MS)
                    batch.status = RESULT_ACKNOWLEDGED
            else:
                self._fail(batch, LaneQuarantinedError(f"the owner of {self.topic}-{self.partition} left a batch without a result"))
            if batch.callbacks is not None:
                self.completed.append(batch)
        if settled:
            shm_store_release(self.base + LANE_FREE, self.free)
        return settled

    @property
    def pending(self):
        """Batches without an acknowledgement."""
        return len(self.unacknowledged)

    @property
    def oldest(self):
        """The oldest batch without an acknowledgement, or None."""
        return self.unacknowledged[0] if self.unacknowledged else None

    @property
    def state(self):
        self.mapping.check()
        return shm_load_acquire(self.base + LANE_STATE)  # SYNC POINT lane-state: pairs with lane-closed

    def unpublished(self):
        """Batches that the owner did not take, oldest first: what a lane that is closed hands to its successor."""
        cdef uint64_t head = shm_load_acquire(self.base + LANE_HEAD)  # after lane-state, so this is the last head
        self._close_frame()
        return [batch for batch in self.unacknowledged if <int64_t>(head - (<BatchResult>batch).pos) <= 0]

    def abandon(self, error):
        """Give up what has no acknowledgement: it fails with `error`."""
        cdef BatchResult batch
        while self.unacknowledged:
            batch = <BatchResult>self.unacknowledged.popleft()
            self._fail(batch, error)
            if batch.callbacks is not None:
                self.completed.append(batch)
        self.current = None

    cdef _fail(self, BatchResult batch, error):
        if batch.status == RESULT_PENDING:  # else its delivery timeout has passed, and it was counted
            batch.fail(error)
            self.failed_batches += 1

    def wake_owner(self):
        self.bell.check()
        shm_fence_seq_cst()  # SYNC POINT bell-ring: pairs with bell-sleep
        bell_ring_if_sleeping(self.bell.base)

    def close(self):
        """Unmap the lane. What it holds stays in it for the owner."""
        self.base = NULL
        self.mapping.close()
