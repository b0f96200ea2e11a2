# cython: language_level=3, boundscheck=False, wraparound=False
"""What an owner remembers of its producers, and the images of it that outlive the owner."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from shmlog.errors import CorruptRecordError
from shmlog.native.mapping cimport (
    Mapping, shm_copy_in, shm_fence_release, shm_load_acquire, shm_load_relaxed, shm_store_relaxed, shm_store_release,
)

cdef extern from "batch.h" nogil:
    enum: BATCH_HEADER_BYTES, BATCH_LENGTH, BATCH_LENGTH_FROM, BATCH_LAST_DELTA, BATCH_MAX_TIMESTAMP, BATCH_PRODUCER_ID
    enum: BATCH_PRODUCER_EPOCH, BATCH_BASE_SEQUENCE
    uint16_t be16(const unsigned char *p)
    uint32_t be32(const unsigned char *p)
    uint64_t be64(const unsigned char *p)

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t crc, const void *p, size_t n)

cdef extern from "layout.h" nogil:
    enum: CTL_IMAGES, CTL_IMAGE_BYTES, CTL_IMAGE_PRODUCERS

# An image: turn, position, count, checksum, u64 each, then the entries from 64 on.
cdef enum:
    ENTRY_BYTES = 128
    IMAGE_HEADER = 64
    IMAGE_POS = 8
    IMAGE_COUNT = 16
    IMAGE_CRC = 24

VERDICTS = {PRODUCER_NEW: "new", PRODUCER_DUPLICATE: "duplicate", PRODUCER_FENCED: "fenced", PRODUCER_GAP: "gap"}


cdef uint64_t image_checksum(const unsigned char *image, uint64_t stored) noexcept nogil:
    return crc32c(crc32c(0, image + IMAGE_POS, 16), image + IMAGE_HEADER, stored * ENTRY_BYTES)


cdef class ProducerTable:
    """See producer_table.pyi."""

    def __dealloc__(self):
        free(self.table.entries)

    cdef int check(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t *base_offset) noexcept nogil:
        return producer_check(producer_find(&self.table, producer_id), epoch, base_sequence, count, base_offset)

    cdef int record(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t base_offset,
                    int64_t timestamp_ms) noexcept nogil:
        return producer_remember(&self.table, producer_id, epoch, base_sequence, count, base_offset, timestamp_ms)

    def hold(self, int64_t producer_id):
        cdef producer_entry *entry
        if producer_id >= 0:
            entry = producer_entry_of(&self.table, producer_id)
            if entry == NULL:
                raise MemoryError
            entry.lanes += 1

    def release(self, int64_t producer_id):
        cdef producer_entry *entry
        if producer_id >= 0:
            entry = <producer_entry *>producer_find(&self.table, producer_id)
            assert entry != NULL and entry.lanes > 0, "a lane is let go that was never held"
            entry.lanes -= 1
            if entry.lanes == 0 and entry.batch_count == 0:
                producer_forget(&self.table, entry)

    def offer(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t base_offset,
              int64_t timestamp_ms=-1):
        cdef int64_t first = -1
        cdef int verdict = self.check(producer_id, epoch, base_sequence, count, &first)
        if verdict == PRODUCER_NEW:
            self.record(producer_id, epoch, base_sequence, count, base_offset, timestamp_ms)
        return VERDICTS[verdict], first

    def find(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count):
        cdef int64_t first = -1
        cdef int verdict = self.check(producer_id, epoch, base_sequence, count, &first)
        return first if verdict == PRODUCER_DUPLICATE else -1

    cdef void store_image(self, unsigned char *images, uint64_t pos) noexcept nogil:
        """Write the image whose turn it is: invalid first, valid last, so that one of the two is always whole."""
        cdef unsigned char *image = images + (self.image_turn & 1) * CTL_IMAGE_BYTES
        cdef size_t k, stored = 0
        shm_store_relaxed(image, 0)
        shm_fence_release()
        for k in range(self.table.capacity):
            if self.table.entries[k].producer_id != -1 and self.table.entries[k].batch_count:
                shm_copy_in(image + IMAGE_HEADER + stored * ENTRY_BYTES, &self.table.entries[k], ENTRY_BYTES)
                stored += 1
        shm_store_relaxed(image + IMAGE_POS, pos)
        shm_store_relaxed(image + IMAGE_COUNT, stored)
        shm_store_relaxed(image + IMAGE_CRC, image_checksum(image, stored))
        self.image_turn += 1
        shm_store_release(image, self.image_turn)

    def restore_image(self, Mapping control not None):
        cdef const unsigned char *image
        cdef const unsigned char *best = NULL
        cdef uint64_t turn, stored, best_turn = 0
        cdef size_t k
        control.check_range(CTL_IMAGES, 2 * CTL_IMAGE_BYTES)
        for k in range(2):
            image = control.base + CTL_IMAGES + k * CTL_IMAGE_BYTES
            turn = shm_load_acquire(image)
            stored = shm_load_relaxed(image + IMAGE_COUNT)
            if turn > best_turn and stored <= CTL_IMAGE_PRODUCERS and shm_load_relaxed(image + IMAGE_CRC) == image_checksum(image, stored):
                best = image
                best_turn = turn
        if best == NULL:
            return None
        for k in range(shm_load_relaxed(best + IMAGE_COUNT)):
            self._put(best + IMAGE_HEADER + k * ENTRY_BYTES)
        self.image_turn = best_turn
        return shm_load_relaxed(best + IMAGE_POS)

    cdef _put(self, const unsigned char *entry):
        cdef int64_t producer_id
        cdef int32_t lanes
        cdef producer_entry *mine
        memcpy(&producer_id, entry, 8)
        mine = producer_entry_of(&self.table, producer_id)
        if mine == NULL:
            raise MemoryError
        lanes = mine.lanes
        self.table.remembered -= mine.batch_count != 0
        memcpy(mine, entry, ENTRY_BYTES)
        self.table.remembered += mine.batch_count != 0
        mine.lanes = lanes

    def replay(self, const unsigned char[::1] batches not None):
        cdef size_t at = 0, n = <size_t>batches.shape[0]
        cdef const unsigned char *batch
        cdef int64_t producer_id
        cdef uint64_t length
        while n - at >= BATCH_HEADER_BYTES:
            batch = &batches[at]
            length = <uint64_t>be32(batch + BATCH_LENGTH) + BATCH_LENGTH_FROM
            if length < BATCH_HEADER_BYTES or length > n - at:
                raise CorruptRecordError(f"a batch of {length} bytes does not fit into the {n - at} that remain")
            producer_id = <int64_t>be64(batch + BATCH_PRODUCER_ID)
            if producer_id >= 0 and <int32_t>be32(batch + BATCH_BASE_SEQUENCE) >= 0:
                if self.record(producer_id, <int16_t>be16(batch + BATCH_PRODUCER_EPOCH), <int32_t>be32(batch + BATCH_BASE_SEQUENCE),
                               be32(batch + BATCH_LAST_DELTA) + 1, <int64_t>be64(batch), <int64_t>be64(batch + BATCH_MAX_TIMESTAMP)) != 0:
                    raise MemoryError
            at += length
        return at

    def entries(self):
        cdef list parts = []
        for k in range(self.table.capacity):
            if self.table.entries[k].producer_id != -1 and self.table.entries[k].batch_count:
                parts.append(PyBytes_FromStringAndSize(<const char *>&self.table.entries[k], ENTRY_BYTES))
        return parts

    def restore(self, entries):
        cdef bytes entry
        for entry in entries:
            if PyBytes_GET_SIZE(entry) != ENTRY_BYTES:
                raise ValueError(f"a producer entry has {ENTRY_BYTES} bytes, not {PyBytes_GET_SIZE(entry)}")
            self._put(<const unsigned char *>PyBytes_AS_STRING(entry))
