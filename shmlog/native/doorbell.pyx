# cython: language_level=3
"""How a sleeping process is woken: one futex word and one flag, in a region that both sides map."""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR

from shmlog.native.mapping cimport Mapping, shm_fence_seq_cst, shm_load32_acquire, shm_store32_relaxed

cdef extern from "layout.h":
    enum: BELL_DOORBELL, BELL_SLEEPING


cdef class Doorbell:
    """See doorbell.pyi."""

    def __cinit__(self, Mapping mapping not None):
        if not mapping.writable:
            raise ValueError("a doorbell needs a writable region")
        mapping.check_range(0, BELL_SLEEPING + 4)
        self.mapping = mapping
        self.sleepers = 0

    cpdef unsigned int prepare(self) except? 0:
        self.mapping.check()
        # SYNC POINT bell-ticket: pairs with bell-count. It is read before the second look, so that a ring after that
        # look is noticed by the kernel's comparison.
        cdef unsigned int ticket = shm_load32_acquire(self.mapping.base + BELL_DOORBELL)
        self.sleepers += 1
        shm_store32_relaxed(self.mapping.base + BELL_SLEEPING, 1)
        # SYNC POINT bell-sleep: pairs with bell-ring. The flag is raised before the caller's second look: either that
        # look sees the news, or the waker sees the flag.
        shm_fence_seq_cst()
        return ticket

    cpdef bint wait(self, unsigned int ticket, double timeout_s) except? True:
        cdef int64_t deadline_ns = monotonic_ns() + <int64_t>(timeout_s * 1e9)
        cdef const unsigned char *word = self.mapping.base + BELL_DOORBELL
        cdef int outcome
        try:
            with nogil:
                outcome = futex_wait_until(word, ticket, deadline_ns)
            if outcome == EINTR:
                PyErr_CheckSignals()
        finally:
            self._leave()
        return outcome == 0

    cpdef cancel(self):
        self._leave()

    cdef void _leave(self) noexcept:
        # Threads of one process share the flag: the last to leave lowers it (the GIL guards the count).
        if self.sleepers > 0:
            self.sleepers -= 1
        if self.sleepers == 0 and self.mapping.base != NULL:
            shm_store32_relaxed(self.mapping.base + BELL_SLEEPING, 0)

    cpdef bint ring(self) except? True:
        self.mapping.check()
        shm_fence_seq_cst()  # SYNC POINT bell-ring: pairs with bell-sleep
        return bell_ring_if_sleeping(self.mapping.base)

    def close(self):
        self.mapping.close()
