# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading a partition's ring without ever holding its owner up (shared-memory design, section 4)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.errors import CorruptRecordError
from shmlog.native.mapping cimport (
    Mapping, shm_copy_out, shm_fence_acquire, shm_load32_relaxed, shm_load_acquire, shm_load_relaxed,
)

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES, BATCH_LENGTH, BATCH_LENGTH_FROM, BATCH_LAST_DELTA
    uint32_t be32(const unsigned char *p)
    uint64_t be64(const unsigned char *p)

cdef extern from "layout.h" nogil:
    enum: CTL_RING_GENERATION, CTL_MAX_BATCH, CTL_BASE_OFFSET, CTL_BASE_POS, CTL_INTENT_POS, CTL_TAIL_POS
    enum: CTL_WRITTEN_POS, CTL_HW_OFFSET, CTL_HW_POS, CTL_LOG_START_OFFSET, CTL_STATE, CTL_TRACE_STRIDE
    enum: IDX_ENTRY_BYTES, IDX_SEQ, IDX_POS_END, IDX_BASE_OFFSET, IDX_LENGTH, IDX_COUNT

LAGGED = -1


cdef class RingReader:
    """See ring.pyi."""

    def __init__(self, Mapping control not None, Mapping ring not None, Mapping index not None, uint64_t generation,
                 *, bint up_to_written=False):
        control.check()
        ring.check()
        index.check()
        self.control = control
        self.ring = ring
        self.index = index
        self.ctl = control.base
        self.limit_cell = self.ctl + (CTL_WRITTEN_POS if up_to_written else CTL_HW_POS)
        self.ring_base = ring.base
        self.idx = index.base
        self.capacity = ring.size_bytes
        self.index_entries = index.size_bytes // IDX_ENTRY_BYTES
        self.generation = generation
        self.max_batch_bytes = shm_load_acquire(self.ctl + CTL_MAX_BATCH)
        self.next_offset = -1

    cdef bint _overrun(self, uint64_t pos) noexcept nogil:
        return <int64_t>(shm_load_relaxed(self.ctl + CTL_INTENT_POS) - pos - self.capacity) > 0

    def seek(self, int64_t offset):
        cdef uint64_t seq, pos_end, limit
        cdef int64_t base
        cdef uint32_t length, count
        cdef unsigned char *entry
        cdef size_t k
        self.control.check()
        # SYNC POINT seek-limit: pairs with tail. An entry up to here is of a published group, or is gone.
        limit = shm_load_acquire(self.ctl + CTL_TAIL_POS)
        # SYNC POINT generation-base-offset, generation-base-again: pair with generation-base and -base-invalid in
        # regeneration.grow_ring. The position between two looks at the same offset belongs to it.
        if offset == <int64_t>shm_load_acquire(self.ctl + CTL_BASE_OFFSET):
            self.pos = shm_load_relaxed(self.ctl + CTL_BASE_POS)
            shm_fence_acquire()
            if offset == <int64_t>shm_load_relaxed(self.ctl + CTL_BASE_OFFSET) and not self._overrun(self.pos):
                self.next_offset = offset
                return True
        for k in range(self.index_entries):
            entry = self.idx + k * IDX_ENTRY_BYTES
            seq = shm_load_acquire(entry + IDX_SEQ)  # SYNC POINT seek-entry: pairs with index-entry
            if seq == 0:
                continue
            base = <int64_t>shm_load_relaxed(entry + IDX_BASE_OFFSET)
            count = shm_load32_relaxed(entry + IDX_COUNT)
            if offset < base or offset > base + count:
                continue
            pos_end = shm_load_relaxed(entry + IDX_POS_END)
            length = shm_load32_relaxed(entry + IDX_LENGTH)
            shm_fence_acquire()  # SYNC POINT seek-again: pairs with index-empty-fence
            if shm_load_relaxed(entry + IDX_SEQ) != seq or pos_end > limit:
                continue  # rewritten meanwhile, or not published
            self.pos = pos_end if offset == base + count else pos_end - length
            if self._overrun(self.pos):
                continue
            self.next_offset = offset
            return True
        return False

    def read(self, uint64_t max_bytes):
        cdef uint64_t limit, wanted, whole = 0, length
        cdef bytes chunk
        cdef unsigned char *copy
        cdef int64_t last_offset
        self.control.check()
        while True:
            # SYNC POINT watermark-limit, written-limit: pair with watermark, and for a follower with written.
            limit = shm_load_acquire(self.limit_cell)
            if limit == self.pos or <int64_t>(limit - self.pos) < 0:
                return b""
            wanted = min(limit - self.pos, max_bytes)
            if wanted > self.capacity or self._overrun(self.pos):
                return LAGGED
            chunk = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>wanted)
            copy = <unsigned char *>PyBytes_AS_STRING(chunk)
            with nogil:
                shm_copy_out(copy, self.ring_base + self.pos % self.capacity, wanted)
                # SYNC POINT ring-copy: pairs with ring-intent in Publisher._gather: the copy came before this look at the intent,
                # so bytes that were overwritten during the copy are noticed. Before anything in the copy is used.
                shm_fence_acquire()
            if self._overrun(self.pos):
                return LAGGED
            # SYNC POINT generation-check: pairs with generation. A limit of another ring came after its generation.
            if shm_load_acquire(self.ctl + CTL_RING_GENERATION) != self.generation:
                return LAGGED
            while wanted - whole >= BATCH_HEADER_BYTES:
                length = <uint64_t>be32(copy + whole + BATCH_LENGTH) + BATCH_LENGTH_FROM
                if length < BATCH_HEADER_BYTES or length > self.max_batch_bytes or length > limit - self.pos - whole:
                    raise CorruptRecordError(
                        f"a batch at ring position {self.pos + whole} claims {length} bytes; the largest has"
                        f" {self.max_batch_bytes}, {limit - self.pos - whole} are published")
                if length > wanted - whole:
                    break
                last_offset = <int64_t>be64(copy + whole) + <int32_t>be32(copy + whole + BATCH_LAST_DELTA)
                self.next_offset = last_offset + 1
                whole += length
            if whole:
                self.pos += whole
                self.trace_stride = shm_load_relaxed(self.ctl + CTL_TRACE_STRIDE)
                return chunk if whole == wanted else chunk[:whole]
            # the first batch alone is larger than what was asked for
            max_bytes = length if wanted >= BATCH_HEADER_BYTES else BATCH_HEADER_BYTES

    def has_data(self):
        self.control.check()
        return <int64_t>(shm_load_acquire(self.limit_cell) - self.pos) > 0

    def has_moved(self):
        """The owner made a new ring, or it does not serve this one any more: attach again."""
        self.control.check()
        return shm_load_acquire(self.ctl + CTL_RING_GENERATION) != self.generation

    def is_hot(self, int64_t offset):
        """Is `offset` far enough inside the ring that going (back) to it is worthwhile?"""
        cdef uint64_t tail = shm_load_acquire(self.ctl + CTL_TAIL_POS)
        cdef uint64_t pos = self.pos
        cdef int64_t before = self.next_offset
        cdef bint hot
        if not self.seek(offset):
            return False
        hot = self.pos + self.capacity // 2 > tail
        self.pos = pos
        self.next_offset = before
        return hot

    @property
    def high_watermark(self):
        self.control.check()
        return <int64_t>shm_load_acquire(self.ctl + CTL_HW_OFFSET)

    @property
    def log_start_offset(self):
        self.control.check()
        return <int64_t>shm_load_acquire(self.ctl + CTL_LOG_START_OFFSET)

    def close(self):
        self.ring.close()
        self.index.close()
