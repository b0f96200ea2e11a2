# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""From the ring into the segment: written, synced, and with that visible. What is published is behind the tail already.

In this order (the crash proofs rest on it): pwrite of the ring's own bytes -> written -> high watermark -> wakes.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t

from shmlog.native.mapping cimport Mapping, shm_load_acquire, shm_load_relaxed, shm_store_relaxed, shm_store_release
from shmlog.native.packer cimport BatchPacker
from shmlog.native.segment cimport SegmentWriter

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()

cdef extern from "layout.h" nogil:
    enum: CTL_TAIL_POS, CTL_WRITTEN_OFFSET, CTL_WRITTEN_POS, CTL_SYNCED_OFFSET, CTL_SYNCED_POS, CTL_HW_OFFSET
    enum: CTL_HW_POS, CTL_LSO_OFFSET, CTL_LSO_POS, COUNTER_WRITES, COUNTER_SYNCS, COUNTER_ROLLS, COUNTER_WRITE_ERRORS


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
        if not self.hold_for_sync:
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
        if self.hold_for_sync and <uint64_t>offset > shm_load_relaxed(self.ctl + CTL_HW_OFFSET):
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
        if not self.hold_for_sync or self.unsynced_records == 0:
            self._advance_watermark(self.written_offset, self.written_pos)
        self._wake()

    def use_segment(self, SegmentWriter writer not None):
        """Go on in a new active segment (after a roll)."""
        self.writer = writer
        self._count(COUNTER_ROLLS, 1)

    def ring_bytes_between(self, uint64_t start, uint64_t end):
        """A copy of the ring's bytes; the caller knows that they are still there."""
        return PyBytes_FromStringAndSize(<const char *>self.ring_base + start % self.capacity, <Py_ssize_t>(end - start))
