cimport cython
from libc.stdint cimport INT64_MAX, int32_t, int64_t

cdef extern from "wall_clock.h" nogil:
    int64_t recent_wall_ms()


@cython.final
cdef class TopicLanes:
    cdef readonly str topic
    cdef readonly list lanes
    cdef readonly object terms
    cdef public int32_t partition_count
    cdef int32_t sticky
    cdef int64_t sticky_bytes, fresh_from_ms, before_max_ms, after_max_ms, latest_ms
    cdef bint needs_keys

    cdef inline bint takes(self, int64_t timestamp_ms) noexcept:
        """Is that a time that the topic takes, as far as is known? (Most are no later than `latest_ms`.)"""
        return ((timestamp_ms <= self.latest_ms or timestamp_ms - self.after_max_ms <= recent_wall_ms())
                and (self.before_max_ms == INT64_MAX or timestamp_ms >= recent_wall_ms() - self.before_max_ms))
