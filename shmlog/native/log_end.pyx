# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""From the ring into the segment: written, synced, and with that visible. What is published is behind the tail already.

In this order (the crash proofs rest on it): pwrite of the ring's own bytes -> written -> high watermark -> wakes.

With followers the high watermark waits for those that count: it stands at the last batch that all of them have. The
entries of the ring's index say where that is in the ring; `mark_seq` is the first of them that is not below it. While
fewer replicas are in sync than min.insync.replicas asks for (`under_min_isr`) it stands still, with or without followers.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

from shmlog.native.mapping cimport (
    Mapping, shm_fence_seq_cst, shm_load32_relaxed, shm_load_acquire, shm_load_relaxed, shm_store_relaxed, shm_store_release,
)
from shmlog.native.packer cimport BatchPacker
from shmlog.native.segment cimport SegmentWriter

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()
    int bell_ring_if_sleeping(unsigned char *bell)

cdef extern from "layout.h" nogil:
    enum: CTL_TAIL_POS, CTL_WRITTEN_OFFSET, CTL_WRITTEN_POS, CTL_SYNCED_OFFSET, CTL_SYNCED_POS, CTL_HW_OFFSET
    enum: CTL_HW_POS, CTL_LSO_OFFSET, CTL_LSO_POS, COUNTER_WRITES, COUNTER_SYNCS, COUNTER_ROLLS, COUNTER_WRITE_ERRORS
    enum: COUNTER_WAKES, IDX_ENTRY_BYTES, IDX_SEQ, IDX_POS_END, IDX_BASE_OFFSET, IDX_LENGTH, IDX_COUNT, REPLICA_SIZE

FOLLOWER_FAULTS = ("", "went back", "beyond", "absent")  # see log_end.pyi


cdef class LogEnd(LaneTable):
    """Base of Publisher; see log_end.pyi."""

    def __init__(self, Mapping control not None, BatchPacker packer not None, Mapping ring not None, SegmentWriter writer not None,
                 *, int64_t next_offset):
        LaneTable.__init__(self, control, packer)
        self._use_ring(ring)
        self.writer = writer
        self.tail_offset = next_offset
        self.tail_pos = shm_load_acquire(self.ctl + CTL_TAIL_POS)
        self.written_offset = <int64_t>shm_load_acquire(self.ctl + CTL_WRITTEN_OFFSET)
        self.written_pos = shm_load_acquire(self.ctl + CTL_WRITTEN_POS)
        self.synced_offset = <int64_t>shm_load_acquire(self.ctl + CTL_SYNCED_OFFSET)
        self.hold_for_sync = False
        self.unsynced_records = self.written_offset - self.synced_offset
        tracer_init(&self.tracer, self.ctl, next_offset)

    cdef int _use_ring(self, Mapping ring) except -1:
        ring.check()
        self.ring = ring
        self.ring_base = ring.base
        self.capacity = ring.size_bytes
        return 0

    cdef int _write(self) noexcept nogil:
        """pwrite [written, tail): the ring's own bytes, contiguous through the double mapping."""
        cdef int error = self.writer.append_range(self.ring_base + self.written_pos % self.capacity,
                                                  <size_t>(self.tail_pos - self.written_pos))
        if error:
            self.last_errno = error
            self._count(COUNTER_WRITE_ERRORS, 1)
            return error
        self._count(COUNTER_WRITES, 1)
        self.unsynced_records += self.tail_offset - self.written_offset
        self.written_offset = self.tail_offset
        self.written_pos = self.tail_pos
        shm_store_relaxed(self.ctl + CTL_WRITTEN_OFFSET, <uint64_t>self.written_offset)
        # SYNC POINT written: the bytes are in the file; recovery writes again from here.
        shm_store_release(self.ctl + CTL_WRITTEN_POS, self.written_pos)
        if self.tracer.following:
            self.tracer.written_ns = monotonic_ns()
        if self.goes_by_index:
            self._wake_followers()
            self._follow_watermark()
        elif not self.hold_for_sync:
            self._advance_watermark(self.written_offset, self.written_pos)
        self._wake()
        return 0

    cdef void _advance_watermark(self, int64_t offset, uint64_t pos) noexcept nogil:
        cdef int64_t visible_ns = monotonic_ns() if self.tracer.following else 0
        shm_store_relaxed(self.ctl + CTL_HW_OFFSET, <uint64_t>offset)
        shm_store_release(self.ctl + CTL_HW_POS, pos)  # SYNC POINT watermark: pairs with watermark-limit in RingReader.read
        shm_store_relaxed(self.ctl + CTL_LSO_OFFSET, <uint64_t>offset)
        shm_store_release(self.ctl + CTL_LSO_POS, pos)
        if visible_ns:
            tracer_visible(&self.tracer, offset, visible_ns)

    def mark_synced(self, int64_t offset, uint64_t pos):
        """The segments are on the disk up to here, which was `written` when the sync began: advance what waits for it."""
        shm_store_relaxed(self.ctl + CTL_SYNCED_OFFSET, <uint64_t>offset)
        shm_store_release(self.ctl + CTL_SYNCED_POS, pos)
        self.synced_offset = offset
        self.unsynced_records = self.written_offset - offset
        self._count(COUNTER_SYNCS, 1)
        if self.goes_by_index:
            self._follow_watermark()
        elif self.hold_for_sync and <uint64_t>offset > shm_load_relaxed(self.ctl + CTL_HW_OFFSET):
            self._advance_watermark(offset, pos)
        self._wake()

    def trace(self, int64_t until_ns, int64_t interval_ns):
        """Follow some records until then, about one per interval (both monotonic, in ns)."""
        tracer_start(&self.tracer, until_ns, interval_ns, monotonic_ns(), self.tail_offset)

    def stop_trace(self, int64_t now_ns):
        """Stop following records if the time for that is over."""
        if self.tracer.until_ns and now_ns >= self.tracer.until_ns:
            tracer_stop(&self.tracer)

    def settle(self):
        """Ring everybody, and show what is written or, where that waits for a sync, what a dead owner had synced."""
        if self.goes_by_index:
            self._wake_followers()
            self._follow_watermark()
        elif not self.hold_for_sync or self.unsynced_records == 0:
            self._advance_watermark(self.written_offset, self.written_pos)
        self._wake()

    def use_segment(self, SegmentWriter writer not None):
        """Go on in a new active segment (after a roll)."""
        self.writer = writer
        self._count(COUNTER_ROLLS, 1)

    def ring_bytes_between(self, uint64_t start, uint64_t end):
        """A copy of the ring's bytes; the caller knows that they are still there."""
        return PyBytes_FromStringAndSize(<const char *>self.ring_base + start % self.capacity, <Py_ssize_t>(end - start))

    # --- followers ----------------------------------------------------------------------------------------------------

    def __dealloc__(self):
        free(self.followers)

    def use_followers(self, followers):
        """See log_end.pyi."""
        cdef follower_view *views = <follower_view *>calloc(max(1, len(followers)), sizeof(follower_view))
        cdef Mapping mapping
        cdef size_t k, n
        if views == NULL:
            raise MemoryError
        try:
            for k, (replica_id, region, counts) in enumerate(followers):
                views[k].replica_id = replica_id
                views[k].counts = counts
                views[k].fault = FOLLOWER_ABSENT
                if region is not None:
                    mapping = region
                    mapping._check_writable(REPLICA_SIZE - 8, 8)
                    views[k].region = mapping.base
                    views[k].fault = FOLLOWER_SOUND
                    for n in range(self.follower_count):  # what is believed of it, or not any more, holds under this leader
                        if self.followers[n].replica_id == replica_id and self.follower_mappings[n] is region:
                            views[k] = self.followers[n]
                            views[k].counts = counts
        except BaseException:
            free(views)
            raise
        free(self.followers)
        self.followers = views
        self.follower_count = len(followers)
        self.follower_mappings = [region for _, region, _ in followers]
        self._go_by_index()
        if self.goes_by_index:
            # SYNC POINT takeover-watermark: a predecessor was killed between the two cells of the watermark: complete it.
            # What all had then, all have.
            self._follow_watermark_to(<int64_t>shm_load_relaxed(self.ctl + CTL_HW_OFFSET))

    def hold_under_min_isr(self, bint under_min_isr):
        """See log_end.pyi."""
        self.under_min_isr = under_min_isr
        self._go_by_index()

    def count_follower(self, int64_t replica_id, bint counts):
        """From now on the high watermark waits, or does not wait, for this follower."""
        cdef size_t k
        for k in range(self.follower_count):
            if self.followers[k].replica_id == replica_id:
                self.followers[k].counts = counts
        if self._follow_watermark():
            self._wake()

    def look_at_followers(self):
        """See log_end.pyi."""
        cdef size_t k
        cdef follower_view *follower
        seen = []
        for k in range(self.follower_count):
            follower = &self.followers[k]
            follower_look(follower, <uint64_t>self.leader_epoch, self.tail_offset)
            seen.append((follower.replica_id, follower_progress(follower, self.hold_for_sync), FOLLOWER_FAULTS[follower.fault]))
        if self._follow_watermark():  # nobody else will look at what has been seen now
            self._wake()
        return seen

    @property
    def reachable_offset(self):
        """The offset up to which this replica alone would let consumers read."""
        return self.synced_offset if self.hold_for_sync else self.written_offset

    cdef void _go_by_index(self) noexcept nogil:
        """Whether the high watermark may be behind what this replica has; then `mark_seq` goes with it."""
        self.goes_by_index = self.follower_count or self.under_min_isr
        self._find_mark()

    cdef void _find_mark(self) noexcept nogil:
        """The index entry at the high watermark, or the oldest one there is if it begins behind that."""
        cdef uint64_t watermark = shm_load_relaxed(self.ctl + CTL_HW_POS), seq = self.next_seq
        cdef unsigned char *entry
        while seq > 0 and self.next_seq - seq < self.index_entries:
            entry = self.idx + (seq - 1) % self.index_entries * IDX_ENTRY_BYTES
            if shm_load_relaxed(entry + IDX_SEQ) != seq or shm_load_relaxed(entry + IDX_POS_END) <= watermark:
                break
            seq -= 1
        self.mark_seq = seq

    cdef bint _followers_got_on(self) noexcept nogil:
        """Look at those that count."""
        cdef size_t k
        cdef bint got_on = False
        for k in range(self.follower_count):
            if self.followers[k].counts and follower_look(&self.followers[k], <uint64_t>self.leader_epoch, self.tail_offset):
                got_on = True
        self.follower_news += got_on
        return got_on

    cdef bint _follow_watermark(self) noexcept nogil:
        """Let consumers read what all that count have by now; whether that is more than before."""
        cdef int64_t limit = self.synced_offset if self.hold_for_sync else self.written_offset
        cdef size_t k
        self._followers_got_on()
        if self.under_min_isr:
            return False
        for k in range(self.follower_count):
            if self.followers[k].counts:
                limit = min(limit, follower_progress(&self.followers[k], self.hold_for_sync))
        return self._follow_watermark_to(limit)

    cdef bint _follow_watermark_to(self, int64_t limit) noexcept nogil:
        """To the end of the last batch that ends at `limit` or before it. Never back."""
        cdef int64_t offset = -1, base, end, shown = <int64_t>shm_load_relaxed(self.ctl + CTL_HW_OFFSET)
        cdef uint64_t pos = 0, pos_end, shown_pos = shm_load_relaxed(self.ctl + CTL_HW_POS)
        cdef unsigned char *entry
        while self.mark_seq < self.next_seq:
            entry = self.idx + self.mark_seq % self.index_entries * IDX_ENTRY_BYTES
            base = <int64_t>shm_load_relaxed(entry + IDX_BASE_OFFSET)
            end = base + shm_load32_relaxed(entry + IDX_COUNT)
            pos_end = shm_load_relaxed(entry + IDX_POS_END)
            if end <= limit:
                offset, pos = end, pos_end
                self.mark_seq += 1
                continue
            if base <= limit:  # the first of this ring, perhaps: what lies before it has no entries any more
                offset, pos = base, pos_end - shm_load32_relaxed(entry + IDX_LENGTH)
            break
        if self.mark_seq == self.next_seq and limit >= self.tail_offset:
            offset, pos = self.tail_offset, self.tail_pos
        if offset < shown or pos < shown_pos or (offset == shown and pos == shown_pos):
            return False
        self._advance_watermark(offset, pos)
        return True

    cdef bint _is_held_up(self) noexcept nogil:
        """Nothing more is taken half a ring ahead of the watermark: where it goes next stands in the index."""
        return (self.tail_pos - shm_load_relaxed(self.ctl + CTL_HW_POS) > self.capacity // 2
                or self.next_seq - self.mark_seq > self.index_entries // 2)

    cdef void _wake_followers(self) noexcept nogil:
        cdef size_t k
        # SYNC POINT bell-ring: pairs with bell-sleep in Doorbell.prepare.
        shm_fence_seq_cst()
        for k in range(self.follower_count):
            if self.followers[k].region != NULL and bell_ring_if_sleeping(self.followers[k].region):
                self._count(COUNTER_WAKES, 1)
