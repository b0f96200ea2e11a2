from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shmlog.native.lane_table cimport LaneTable
from shmlog.native.mapping cimport Mapping
from shmlog.native.segment cimport SegmentWriter

cdef extern from "trace.h" nogil:
    ctypedef struct record_tracer:
        int64_t next_offset, until_ns, published_ns, written_ns
        int following
    void tracer_init(record_tracer *t, unsigned char *ctl, int64_t end_offset)
    void tracer_start(record_tracer *t, int64_t until_ns, int64_t interval_ns, int64_t now, int64_t end_offset)
    void tracer_stop(record_tracer *t)
    void tracer_taken(record_tracer *t, int64_t offset, uint32_t count, uint32_t bytes, int64_t begun_ns)
    void tracer_visible(record_tracer *t, int64_t offset, int64_t visible_ns)

cdef extern from "followers.h" nogil:
    enum: FOLLOWER_SOUND, FOLLOWER_ABSENT
    ctypedef struct follower_view:
        unsigned char *region
        int64_t replica_id, written, synced
        int counts, follows, fault
    int follower_look(follower_view *follower, uint64_t leader_epoch, int64_t end_offset)
    int64_t follower_progress(const follower_view *follower, int on_disk)


cdef class LogEnd(LaneTable):
    cdef Mapping ring, index
    cdef readonly SegmentWriter writer
    cdef unsigned char *ring_base
    cdef readonly uint64_t capacity, tail_pos, written_pos
    cdef readonly int64_t tail_offset, written_offset, synced_offset, unsynced_records
    cdef public bint hold_for_sync
    cdef readonly int last_errno
    cdef record_tracer tracer
    cdef unsigned char *idx
    cdef readonly uint64_t index_entries, next_seq
    cdef readonly int32_t leader_epoch
    cdef follower_view *followers
    cdef readonly size_t follower_count
    cdef readonly bint under_min_isr
    cdef bint goes_by_index
    cdef list follower_mappings
    cdef uint64_t mark_seq, follower_news

    cdef int _use_ring(self, Mapping ring) except -1
    cdef int _write(self) noexcept nogil
    cdef void _advance_watermark(self, int64_t offset, uint64_t pos) noexcept nogil
    cdef void _go_by_index(self) noexcept nogil
    cdef void _find_mark(self) noexcept nogil
    cdef bint _followers_got_on(self) noexcept nogil
    cdef bint _follow_watermark(self) noexcept nogil
    cdef bint _follow_watermark_to(self, int64_t limit) noexcept nogil
    cdef bint _is_held_up(self) noexcept nogil
    cdef void _wake_followers(self) noexcept nogil
