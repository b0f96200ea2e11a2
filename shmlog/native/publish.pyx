# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The owner's side: batches out of lanes, into the ring, and results back.

One group at a time, in this order (the crash proofs rest on it):

    take      close each lane's open batch, check structure, sequence and size on the owner's own copy in the ring
    publish   intent -> payload -> index entries -> tail -> frame results -> lane heads
    write     what was published into the segment: native/log_end

Whatever prefix of these stores a killed owner leaves behind, partition/opening.py completes.
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from shmlog.native.mapping cimport (
    Mapping, shm_fence_release, shm_fence_seq_cst, shm_load32_relaxed, shm_load_relaxed,
    shm_pause, shm_store32_relaxed, shm_store_relaxed, shm_store_release,
)
from shmlog.native.packer cimport PACK_FAILED, PACKED, BatchPacker, records_seen
from shmlog.native.producer_table cimport PRODUCER_DUPLICATE, PRODUCER_FENCED, PRODUCER_NEW, ProducerTable
from shmlog.native.segment cimport SegmentWriter

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()
    void nap_ns(int64_t ns)

cdef extern from "assemble.h" nogil:
    enum: BATCH_HEADER_BYTES, BURST_RECORDS, BURST_NAP_NS, RING_BATCHES
    int assemble_batch(unsigned char *batch, const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch,
                       const append_terms *terms, records_seen *seen)
    void assemble_packed(unsigned char *batch, const unsigned char *records, uint32_t size, uint16_t codec,
                         const taken_batch *taken, const lane_reader *lane, int64_t offset, int32_t epoch,
                         const append_terms *terms)
    uint32_t batch_refusal(const unsigned char *batch, const records_seen *seen, const append_terms *terms)
    int64_t batch_max_timestamp(const unsigned char *batch)
    uint64_t frame_append_ms(const append_terms *terms, int is_duplicate)

cdef extern from "layout.h" nogil:
    enum: CTL_INTENT_POS, CTL_TAIL_OFFSET, CTL_TAIL_POS, CTL_HEARTBEAT_NS, CTL_IMAGES, COUNTER_BATCHES, COUNTER_RECORDS
    enum: COUNTER_BYTES, COUNTER_GROUPS, COUNTER_SLEEPS, COUNTER_REJECTED, COUNTER_DUPLICATES, IDX_ENTRY_BYTES
    enum: IDX_SEQ, IDX_POS_END, IDX_BASE_OFFSET, IDX_LENGTH, IDX_COUNT, IDX_LANE, IDX_LANE_GENERATION
    enum: IDX_LANE_POS_END, IDX_LANE_POS, IDX_APPEND_NS, LANE_HEAD, LANE_ERROR, LANE_STATE_STOPPED
    enum: LANE_STATE_QUARANTINED, FRAME_BEGUN_NS, FRAME_BYTES, FRAME_BASE_SEQUENCE, FRAME_KIND, FRAME_STATUS, FRAME_ERROR
    enum: FRAME_BASE_OFFSET, FRAME_APPEND_MS, FRAME_KIND_RECORDS, FRAME_STATUS_APPENDED, FRAME_STATUS_DUPLICATE
    enum: FRAME_STATUS_REJECTED

IDLE, ROLL, FAILED, SYNC, BUSY, STOPPED, GROW = range(7)  # outcomes of run(), see publish.pyi

cdef enum:
    _IDLE = 0
    _ROLL = 1
    _FAILED = 2
    _SYNC = 3
    _BUSY = 4
    _STOPPED = 5
    _GROW = 6
    _RAISED = 7  # what a codec raised, which nothing but a broken library does
    GROUP_BATCHES = 512
    GROUP_BYTES = 262144
    LANE_QUANTUM = 65536
    ERROR_SEQUENCE = 45
    ERROR_FENCED = 47
    ERROR_INVALID = 42

GROUP_BATCHES_MAX = GROUP_BATCHES

cdef int64_t NEVER_NS = 0x7FFFFFFFFFFFFFFF  # a deadline that does not come


cdef class Publisher(LogEnd):
    """See publish.pyi."""

    def __cinit__(self):
        self.pending = <pending_batch *>malloc(GROUP_BATCHES * sizeof(pending_batch))
        if self.pending == NULL:
            raise MemoryError

    def __init__(self, Mapping control not None, Mapping ring not None, Mapping index not None, SegmentWriter writer not None,
                 ProducerTable producers not None, BatchPacker packer not None, *, int32_t leader_epoch, int64_t next_offset, uint64_t next_seq, int64_t segment_bytes):
        LogEnd.__init__(self, control, packer, ring, writer, next_offset=next_offset)
        self._use_index(index)
        self.producers = producers
        self.leader_epoch = leader_epoch
        self.segment_bytes = segment_bytes
        self.next_seq = next_seq
        self.image_pos = self.tail_pos
        self.next_deadline_ns = NEVER_NS
        self.sync_after_records = 0
        # SYNC POINT takeover-intent: pairs with ring-copy. The intent may be a predecessor's; who sees a byte that this
        # owner overwrites under it sees the intent too.
        shm_fence_seq_cst()

    cdef int _use_index(self, Mapping index) except -1:
        index.check()
        self.index = index
        self.idx = index.base
        self.index_entries = index.size_bytes // IDX_ENTRY_BYTES
        self.group_bytes = min(<uint64_t>GROUP_BYTES, self.capacity // 8)
        return 0

    def __dealloc__(self):
        free(self.pending)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self, int64_t budget_ns):
        """Publish groups until there is nothing to take, something needs the agent, or the budget is used up."""
        cdef int outcome
        with nogil:
            outcome = self._run(budget_ns)
        if outcome == _RAISED:
            raise self.packer.error
        return outcome

    cdef int _run(self, int64_t budget_ns) noexcept nogil:
        cdef int64_t now = monotonic_ns()
        cdef int64_t end_ns = now + budget_ns
        cdef int outcome
        while True:
            shm_store_relaxed(self.ctl + CTL_HEARTBEAT_NS, <uint64_t>now)
            if self.written_pos != self.tail_pos:
                if self._write() != 0:
                    return _FAILED
            if self.sync_after_records and self.unsynced_records >= self.sync_after_records:
                return _SYNC
            if self.goes_by_index:
                if self._follow_watermark():
                    self._wake()
                if self._is_held_up():
                    self.next_deadline_ns = NEVER_NS
                    return _IDLE
            outcome = self._gather(now)
            if self.written_pos != self.tail_pos and self._write() != 0:
                return _FAILED
            if outcome == _ROLL or outcome == _STOPPED or outcome == _GROW or outcome == _RAISED:
                return outcome
            if outcome == _IDLE:
                if self.burst_records >= BURST_RECORDS:
                    self.burst_records = 0
                    nap_ns(BURST_NAP_NS)
                    now = monotonic_ns()
                    continue
                now = monotonic_ns()
                if self.next_deadline_ns - now > GATHER_NS:
                    return _IDLE
                while now < self.next_deadline_ns:
                    shm_pause()
                    now = monotonic_ns()
            else:
                now = monotonic_ns()
            if now >= end_ns:
                return _BUSY

    def has_work(self):
        """Would run() take, write or show something now? The last look before sleeping."""
        return self._has_work()

    cdef bint _has_work(self) noexcept nogil:
        if self.written_pos != self.tail_pos:
            return True
        if self.goes_by_index:
            if self._followers_got_on():
                return True
            if self._is_held_up():
                return False
        return self._lanes_have_work()

    cdef int _gather(self, int64_t now) noexcept nogil:
        """Take one group from the lanes, round-robin with a quantum, and publish it."""
        cdef uint64_t pos = self.tail_pos, quantum, taken_bytes = 0
        cdef int64_t offset = self.tail_offset
        cdef size_t k, n = self.lane_count
        cdef lane_reader *lane
        cdef taken_batch taken
        cdef int outcome = _IDLE, got, again = 1
        self.pending_count = 0
        self.next_deadline_ns = NEVER_NS
        if n == 0:
            return _IDLE
        while again and outcome == _IDLE:
            again = 0
            for k in range(n):
                lane = self.lanes[(self.turn + k) % n]
                lane.waits_for_ring = 0
                quantum = 0
                while not lane.stopped and quantum < LANE_QUANTUM:
                    if self.pending_count == GROUP_BATCHES or taken_bytes >= self.group_bytes or self.pending_count * 2 >= self.index_entries:
                        outcome = _BUSY
                        break
                    got = lane_take(lane, &taken, now, &self.next_deadline_ns)
                    if got == TAKE_NOTHING or got == TAKE_LATER:
                        break
                    got = _STOPPED if got == TAKE_GARBAGE else self._append(lane, &taken, &pos, &offset)
                    if got == _GROW:
                        lane.waits_for_ring = 1
                        if now < self.grow_after_ns:
                            self.next_deadline_ns = min(self.next_deadline_ns, self.grow_after_ns)
                            break
                    if got == _ROLL or got == _GROW or got == _RAISED:
                        outcome = got
                        break
                    if got == _STOPPED:
                        lane.stopped = LANE_STATE_QUARANTINED
                        outcome = _STOPPED
                        break
                    quantum += taken.end
                    taken_bytes += taken.end
                    again = 1
                    lane.last_ns = now
                    if taken.from_word:
                        break
                if outcome != _IDLE:
                    break
        self.turn += 1
        if self.pending_count:
            self._publish(pos, offset, now)
            if outcome == _IDLE:
                outcome = _BUSY
            for k in range(self.pending_count):
                if self.pending[k].status == FRAME_STATUS_REJECTED:
                    outcome = _STOPPED
        if outcome == _STOPPED:
            self._announce_stops()
        return outcome

    cdef int _append(self, lane_reader *lane, taken_batch *taken, uint64_t *pos, int64_t *offset) noexcept nogil:
        """Decide about one taken batch and put it into the ring behind `pos`; nothing of it is visible yet."""
        cdef uint32_t length = taken.end - FRAME_BYTES + BATCH_HEADER_BYTES
        cdef pending_batch *entry = &self.pending[self.pending_count]
        cdef int64_t file_bytes = self.writer.size_bytes + <int64_t>(pos[0] - self.written_pos)
        cdef int64_t first_offset = -1
        cdef unsigned char *batch
        cdef records_seen seen
        cdef int verdict = PRODUCER_NEW, packed
        if self.pending_count == 0:
            self._date_group()
        taken.sequence = <int32_t>shm_load32_relaxed(taken.frame + FRAME_BASE_SEQUENCE)
        entry.lane = lane
        entry.frame = taken.frame
        entry.count = taken.count
        entry.length = length
        entry.error = 0
        entry.status = FRAME_STATUS_APPENDED
        entry.lane_pos = lane.cursor
        entry.lane_pos_end = lane.cursor + ((taken.end + 7) & ~<uint64_t>7)
        if shm_load32_relaxed(taken.frame + FRAME_KIND) != FRAME_KIND_RECORDS or (lane.producer_id >= 0 and taken.sequence < 0):
            entry.status, entry.error = FRAME_STATUS_REJECTED, ERROR_INVALID
        elif lane.producer_id >= 0:
            verdict = self.producers.check(lane.producer_id, lane.producer_epoch, taken.sequence, taken.count, &first_offset)
            if verdict == PRODUCER_DUPLICATE:
                entry.status = FRAME_STATUS_DUPLICATE
            elif verdict != PRODUCER_NEW:
                entry.status, entry.error = FRAME_STATUS_REJECTED, ERROR_FENCED if verdict == PRODUCER_FENCED else ERROR_SEQUENCE
        if entry.status == FRAME_STATUS_APPENDED:
            if length > self.capacity // RING_BATCHES:
                return _GROW
            if file_bytes > 0 and (file_bytes + length > self.segment_bytes
                                   or offset[0] + taken.count - self.writer.base_offset > INT32_MAX):
                return _ROLL
            if lane.codec:
                packed = self.packer.pack(taken.frame + FRAME_BYTES, taken.end - FRAME_BYTES, taken.count, lane.codec, lane.level)
                if packed != PACKED:
                    return _RAISED if packed == PACK_FAILED else _STOPPED
                seen = self.packer.seen
                length = entry.length = self.packer.size + BATCH_HEADER_BYTES
            # SYNC POINT ring-intent: pairs with ring-copy in RingReader.read. What may be overwritten is announced before
            # the first byte of it changes; never lowered. Announced is a group's worth more, so that few batches do it,
            # and no more than that: readers go to the files for what lies a ring's size behind the intent.
            if shm_load_relaxed(self.ctl + CTL_INTENT_POS) < pos[0] + length:
                shm_store_relaxed(self.ctl + CTL_INTENT_POS, pos[0] + length + self.group_bytes)
                shm_fence_seq_cst()
            batch = self.ring_base + pos[0] % self.capacity
            if lane.codec:
                assemble_packed(batch, self.packer.records, self.packer.size, <uint16_t>self.packer.codec, taken, lane, offset[0],
                                self.leader_epoch, &self.terms)
            elif not assemble_batch(batch, taken, lane, offset[0], self.leader_epoch, &self.terms, &seen):
                return _STOPPED
            entry.error = batch_refusal(batch, &seen, &self.terms)
            if entry.error:
                entry.status = FRAME_STATUS_REJECTED
        if entry.status == FRAME_STATUS_APPENDED:
            entry.base_offset = offset[0]
            if lane.producer_id >= 0:
                self.producers.record(lane.producer_id, lane.producer_epoch, taken.sequence, taken.count, offset[0], batch_max_timestamp(batch))
            if offset[0] + taken.count > self.tracer.next_offset:
                tracer_taken(&self.tracer, offset[0], taken.count, length, <int64_t>shm_load_relaxed(taken.frame + FRAME_BEGUN_NS))
            pos[0] += length
            offset[0] += taken.count
            lane.records += taken.count
        else:
            entry.base_offset = first_offset
        entry.pos_end = pos[0]
        lane_advance(lane, entry.lane_pos_end)
        self.pending_count += 1
        if entry.status == FRAME_STATUS_REJECTED:
            lane.stopped = LANE_STATE_STOPPED
        return _IDLE

    cdef void _publish(self, uint64_t new_tail, int64_t new_offset, int64_t now) noexcept nogil:
        cdef size_t k
        cdef uint64_t appended_batches = 0, duplicates = 0, rejected = 0
        cdef pending_batch *entry
        cdef unsigned char *cell
        for k in range(self.pending_count):
            entry = &self.pending[k]
            if entry.status != FRAME_STATUS_APPENDED:
                continue
            cell = self.idx + (self.next_seq % self.index_entries) * IDX_ENTRY_BYTES
            # SYNC POINT index-empty, index-empty-fence: pair with seek-again in RingReader.seek. Who sees a new field
            # sees that the old entry is gone.
            shm_store_relaxed(cell + IDX_SEQ, 0)
            shm_fence_release()
            shm_store_relaxed(cell + IDX_POS_END, entry.pos_end)
            shm_store_relaxed(cell + IDX_BASE_OFFSET, <uint64_t>entry.base_offset)
            shm_store32_relaxed(cell + IDX_LENGTH, entry.length)
            shm_store32_relaxed(cell + IDX_COUNT, entry.count)
            shm_store32_relaxed(cell + IDX_LANE, entry.lane.slot)
            shm_store32_relaxed(cell + IDX_LANE_GENERATION, <uint32_t>entry.lane.lane_id)
            shm_store_relaxed(cell + IDX_LANE_POS_END, entry.lane_pos_end)
            shm_store_relaxed(cell + IDX_LANE_POS, entry.lane_pos)
            shm_store_relaxed(cell + IDX_APPEND_NS, <uint64_t>now)
            shm_store_release(cell + IDX_SEQ, self.next_seq + 1)  # SYNC POINT index-entry: pairs with seek-entry
            self.next_seq += 1
            appended_batches += 1
        if new_tail != self.tail_pos:
            shm_store_relaxed(self.ctl + CTL_TAIL_OFFSET, <uint64_t>new_offset)
            # SYNC POINT tail: the group exists from here on; recovery takes the offset from the index, never from the cell.
            shm_store_release(self.ctl + CTL_TAIL_POS, new_tail)
            if self.tracer.following and self.tracer.published_ns == 0:
                self.tracer.published_ns = monotonic_ns()
        for k in range(self.pending_count):
            entry = &self.pending[k]
            shm_store_relaxed(entry.frame + FRAME_BASE_OFFSET, <uint64_t>entry.base_offset)
            shm_store_relaxed(entry.frame + FRAME_APPEND_MS, frame_append_ms(&self.terms, entry.status == FRAME_STATUS_DUPLICATE))
            shm_store32_relaxed(entry.frame + FRAME_ERROR, entry.error)
            shm_store32_relaxed(entry.frame + FRAME_STATUS, entry.status)
            if entry.status == FRAME_STATUS_REJECTED:
                shm_store_relaxed(entry.lane.base + LANE_ERROR, entry.error)
                rejected += 1
            elif entry.status == FRAME_STATUS_DUPLICATE:
                duplicates += 1
        for k in range(self.pending_count):
            entry = &self.pending[k]
            if k + 1 == self.pending_count or self.pending[k + 1].lane != entry.lane:
                # SYNC POINT lane-head: pairs with lane-reclaim in LaneWriter.reclaim: a result is read only below the head.
                shm_store_release(entry.lane.base + LANE_HEAD, entry.lane_pos_end)
        self._count(COUNTER_BATCHES, appended_batches)
        self._count(COUNTER_RECORDS, <uint64_t>(new_offset - self.tail_offset))
        self.burst_records = new_offset - self.tail_offset
        self._count(COUNTER_BYTES, new_tail - self.tail_pos)
        self._count(COUNTER_GROUPS, 1)
        if duplicates:
            self._count(COUNTER_DUPLICATES, duplicates)
        if rejected:
            self._count(COUNTER_REJECTED, rejected)
        self.tail_offset = new_offset
        if new_tail == self.tail_pos:
            self._wake()
        self.tail_pos = new_tail
        if self.tail_pos - self.image_pos >= self.capacity // 2:
            self._store_image()

    def count_sleep(self):
        self._count(COUNTER_SLEEPS, 1)

    def use_ring(self, Mapping ring not None, Mapping index not None):
        """Go on in a new, empty ring (its index begins anew too). Everything is written."""
        self._use_ring(ring)
        self._use_index(index)
        self.next_seq = self.mark_seq = 0
        self._store_image()

    def defer_growth(self, int64_t until_ns):
        """A larger ring was refused: batches that need one wait until then, the other lanes go on."""
        self.grow_after_ns = until_ns

    def growth_is_awaited(self):
        """Does a lane wait for a larger ring?"""
        cdef size_t k
        for k in range(self.lane_count):
            if self.lanes[k].waits_for_ring:
                return True
        return False

    def store_image(self):
        """Leave the producer state in the ctl region for a successor."""
        self._store_image()

    cdef void _store_image(self) noexcept nogil:
        self.producers.store_image(self.ctl + CTL_IMAGES, self.tail_pos)
        self.image_pos = self.tail_pos
