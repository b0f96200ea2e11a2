# cython: language_level=3, boundscheck=False, wraparound=False
"""Compaction of batches: the newest offset of each key, and what stays of a batch (see clean_batch.h, offset_map.h)."""

from typing import NamedTuple

from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "clean_batch.h" nogil:
    enum:
        BATCH_HEADER_BYTES, BATCH_LENGTH, BATCH_LENGTH_FROM
        CLEAN_SOUND, CLEAN_PARTIAL, CLEAN_FULL, CLEAN_ROOM, CLEAN_LENGTH, CLEAN_MAGIC, CLEAN_OFFSET, CLEAN_COUNT
        CLEAN_CHECKSUM, CLEAN_CODEC, CLEAN_RECORD, CLEAN_GROWN, CLEAN_MEMORY
    ctypedef struct hash128:
        uint64_t low, high
    ctypedef struct offset_slot:
        pass
    ctypedef struct offset_map:
        offset_slot *slots
        uint64_t slot_count, key_count, key_count_max, seed_low, seed_high
    ctypedef struct batch_view:
        const unsigned char *end
        int64_t base_offset, last_offset
        uint32_t count
    ctypedef struct cleaning:
        const offset_map *map
        int64_t first_dirty_offset, map_end_offset, end_offset, now_ms, delete_retention_ms
        const int64_t *producer_ids
        const int64_t *last_offsets
        size_t producer_count
        void *notes
        int64_t records_read, records_kept, tombstones_kept, tombstones_dropped, keyless_dropped, batches_changed
        int64_t delete_horizon_ms
    uint32_t be32(const unsigned char *p)
    hash128 siphash128(const unsigned char *p, size_t n, uint64_t key_low, uint64_t key_high)
    hash128 key_hash(const offset_map *map, const unsigned char *key, size_t length)
    int64_t map_look(const offset_map *map, hash128 hash)
    int sound_batch(const unsigned char *batch, const unsigned char *end, int64_t next_offset, int64_t dense_from,
                    batch_view *view)
    int map_batch(offset_map *map, const batch_view *view, int64_t from_offset)
    int clean_batch(cleaning *c, const unsigned char *batch, const batch_view *view, unsigned char *out, size_t room,
                    size_t *size)
    void put_empty_batch(unsigned char *out, const unsigned char *batch)

SLOT_BYTES = sizeof(offset_slot)
assert SLOT_BYTES == 24

PROBLEMS = {
    CLEAN_LENGTH: "its length makes no sense",
    CLEAN_MAGIC: "its magic byte is not 2",
    CLEAN_OFFSET: "its base offset does not follow the batch before",
    CLEAN_COUNT: "its record count and last offset disagree",
    CLEAN_CHECKSUM: "its checksum is wrong",
    CLEAN_CODEC: "it is compressed",
    CLEAN_RECORD: "its records are damaged although its checksum is right",
    CLEAN_GROWN: "what stays of it is larger than a batch can be",
}


class Walked(NamedTuple):
    done_bytes: int
    next_offset: int
    filled_bytes: int
    wanted_bytes: int
    wanted_room_bytes: int
    problem: str


def siphash(const unsigned char[::1] data not None, bytes key not None):
    if len(key) != 16:
        raise ValueError(f"the key of SipHash has 16 bytes, not {len(key)}")
    cdef uint64_t words[2]
    memcpy(words, <const unsigned char *>key, 16)
    cdef hash128 found = siphash128(&data[0] if data.shape[0] else NULL, <size_t>data.shape[0], words[0], words[1])
    return (<unsigned char *>&found)[:16]


cdef class OffsetMap:
    """See compaction.pyi."""

    cdef offset_map map
    cdef unsigned char[::1] memory
    cdef readonly int64_t end_offset
    cdef readonly bint is_full

    def __cinit__(self, unsigned char[::1] memory not None, bytes seed not None, int64_t key_count_max):
        cdef uint64_t slots = <uint64_t>memory.shape[0] // sizeof(offset_slot)
        cdef uint64_t wanted = <uint64_t>max(key_count_max, 0) + <uint64_t>max(key_count_max, 0) // 9 + 2
        if len(seed) != 16:
            raise ValueError(f"the seed of an offset map has 16 bytes, not {len(seed)}")
        if slots < 2:
            raise ValueError(f"an offset map needs {2 * SLOT_BYTES} bytes of memory for one key, not {memory.shape[0]}")
        if <uintptr_t>&memory[0] % sizeof(uint64_t):
            raise ValueError("the memory of an offset map must begin at a multiple of 8")
        self.memory = memory
        self.map.slots = <offset_slot *>&memory[0]
        self.map.slot_count = min(slots, wanted)
        self.map.key_count = 0
        self.map.key_count_max = self.map.slot_count * 9 // 10
        memcpy(&self.map.seed_low, <const unsigned char *>seed, 8)
        memcpy(&self.map.seed_high, <const unsigned char *>seed + 8, 8)
        self.end_offset = -1
        self.is_full = False
        with nogil:
            memset(self.map.slots, 0, self.map.slot_count * sizeof(offset_slot))

    @property
    def key_count(self):
        return self.map.key_count

    @property
    def key_count_max(self):
        return self.map.key_count_max

    def release(self):
        self.memory = None
        self.map.slots = NULL
        self.map.slot_count = self.map.key_count = 0
        self.is_full = True

    def newest_offset(self, const unsigned char[::1] key not None):
        return map_look(&self.map, key_hash(&self.map, &key[0] if key.shape[0] else NULL, <size_t>key.shape[0]))

    def add_batches(self, const unsigned char[::1] data not None, int64_t next_offset, int64_t dense_from_offset,
                    int64_t from_offset):
        cdef const unsigned char *start = &data[0] if data.shape[0] else NULL
        cdef const unsigned char *p = start
        cdef const unsigned char *end = start + data.shape[0]
        cdef batch_view view
        cdef int problem = CLEAN_SOUND
        with nogil:
            while not self.is_full:
                problem = sound_batch(p, end, next_offset, dense_from_offset, &view)
                if problem == CLEAN_SOUND:
                    problem = map_batch(&self.map, &view, from_offset)
                if problem == CLEAN_FULL:
                    self.is_full = True
                    self.end_offset = view.base_offset
                if problem != CLEAN_SOUND:
                    break
                next_offset = view.last_offset + 1
                p = view.end
        return result(p - start, next_offset, 0, problem, p, end, 0)


cdef class BatchFilter:
    """See compaction.pyi."""

    cdef cleaning state
    cdef OffsetMap map
    cdef int64_t *producers
    cdef unsigned char last_header[61]
    cdef bint has_header

    def __cinit__(self, OffsetMap map not None, *, int64_t first_dirty_offset, int64_t map_end_offset, int64_t end_offset,
                  int64_t now_ms, int64_t delete_retention_ms, producers):
        cdef size_t k
        ordered = sorted(producers.items())
        memset(&self.state, 0, sizeof(cleaning))
        self.map = map
        self.has_header = False
        self.producers = <int64_t *>malloc(2 * len(ordered) * sizeof(int64_t) + 1)
        if self.producers == NULL:
            raise MemoryError
        for k, (producer_id, last_offset) in enumerate(ordered):
            self.producers[k] = producer_id
            self.producers[len(ordered) + k] = last_offset
        self.state.map = &map.map
        self.state.first_dirty_offset = first_dirty_offset
        self.state.map_end_offset = map_end_offset
        self.state.end_offset = end_offset
        self.state.now_ms = now_ms
        # what never passes is as good as a number that does not overflow
        self.state.delete_retention_ms = min(delete_retention_ms, <int64_t>1 << 61)
        self.state.producer_ids = self.producers
        self.state.last_offsets = self.producers + len(ordered)
        self.state.producer_count = <size_t>len(ordered)

    def __dealloc__(self):
        free(self.producers)
        free(self.state.notes)

    @property
    def records_read(self):
        return self.state.records_read

    @property
    def records_kept(self):
        return self.state.records_kept

    @property
    def tombstones_kept(self):
        return self.state.tombstones_kept

    @property
    def tombstones_dropped(self):
        return self.state.tombstones_dropped

    @property
    def keyless_dropped(self):
        return self.state.keyless_dropped

    @property
    def batches_changed(self):
        return self.state.batches_changed

    @property
    def delete_horizon_ms(self):
        return self.state.delete_horizon_ms

    def filter_batches(self, const unsigned char[::1] data not None, unsigned char[::1] out not None, int64_t next_offset,
                       int64_t dense_from_offset):
        cdef const unsigned char *start = &data[0] if data.shape[0] else NULL
        cdef const unsigned char *p = start
        cdef const unsigned char *end = start + data.shape[0]
        cdef unsigned char *into = &out[0] if out.shape[0] else NULL
        cdef size_t room = <size_t>out.shape[0], filled = 0, size = 0
        cdef batch_view view
        cdef int problem = CLEAN_SOUND
        with nogil:
            while True:
                problem = sound_batch(p, end, next_offset, dense_from_offset, &view)
                if problem == CLEAN_SOUND:
                    problem = clean_batch(&self.state, p, &view, into + filled, room - filled, &size)
                if problem != CLEAN_SOUND:
                    break
                filled += size
                memcpy(self.last_header, p, BATCH_HEADER_BYTES)
                self.has_header = True
                next_offset = view.last_offset + 1
                p = view.end
        return result(p - start, next_offset, filled, problem, p, end, size)

    def empty_last_batch(self):
        cdef unsigned char empty[61]
        if not self.has_header:
            return b""
        put_empty_batch(empty, self.last_header)
        return empty[:61]


cdef result(Py_ssize_t done, int64_t next_offset, Py_ssize_t filled, int problem, const unsigned char *p,
            const unsigned char *end, size_t size):
    cdef int64_t wanted = 0
    if problem == CLEAN_MEMORY:
        raise MemoryError
    if problem == CLEAN_PARTIAL and p < end:
        wanted = BATCH_HEADER_BYTES
        if end - p >= BATCH_HEADER_BYTES:
            wanted = <int64_t>be32(p + BATCH_LENGTH) + BATCH_LENGTH_FROM
    return Walked(done, next_offset, filled, wanted, size if problem == CLEAN_ROOM else 0, PROBLEMS.get(problem, ""))
