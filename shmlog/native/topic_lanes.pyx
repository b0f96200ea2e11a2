# cython: language_level=3, boundscheck=False, wraparound=False
"""What a producer knows of one topic: its lanes there, and what the topic demands of records."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t

from shmlog.limits import CLOCK_STEP_MS

cdef int64_t _CLOCK_STEP_MS = CLOCK_STEP_MS


cdef class TopicLanes:
    """See topic_lanes.pyi."""

    def __init__(self, str topic not None, int32_t partition_count, terms, int64_t heard_ms):
        self.topic = topic
        self.lanes = []
        self.sticky = -1
        self.hear(partition_count, terms, heard_ms)

    def hear(self, int32_t partition_count, terms, int64_t heard_ms):
        self.fresh_from_ms = heard_ms - _CLOCK_STEP_MS
        if partition_count > self.partition_count:
            self.lanes.extend([None] * (partition_count - self.partition_count))
            self.partition_count = partition_count
        self.terms = terms
        self.needs_keys = terms.needs_keys
        self.before_max_ms = terms.before_max_ms
        self.after_max_ms = terms.after_max_ms
        self.latest_ms = heard_ms + min(self.after_max_ms, INT64_MAX - heard_ms)
