# cython: language_level=3
"""Rings of a doorbell, passed on to event loops: one native thread that sleeps for all of them."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from shmlog.errors import InvalidRequestError
from shmlog.native.doorbell cimport Doorbell
from shmlog.native.mapping cimport Mapping

from os import strerror

cdef extern from "relay.h" nogil:
    enum: RELAY_LOOPS_MAX
    struct relay:
        pass
    int relay_start(relay *it, unsigned char *bell, int64_t sleep_ns)
    int relay_listen(relay *it, int fd)
    void relay_arm(relay *it, int slot, uint32_t ticket)
    void relay_disarm(relay *it, int slot)
    void relay_leave(relay *it, int slot)
    void relay_stop(relay *it)

cdef extern from "fork_guard.h" nogil:
    unsigned int fork_generation()


@cython.final
@cython.no_gc_clear  # the region must stay mapped until the thread has ended
cdef class BellRelay:
    """See relay.pyi."""

    cdef readonly Doorbell doorbell
    cdef Mapping mapping  # its own: the collector of cycles may take it from the doorbell
    cdef relay it
    cdef unsigned int generation
    cdef bint runs

    def __cinit__(self, Doorbell doorbell not None, double sleep_s):
        cdef int failure
        doorbell.mapping.check()
        self.doorbell = doorbell
        self.mapping = doorbell.mapping
        self.generation = fork_generation()
        failure = relay_start(&self.it, doorbell.mapping.base, <int64_t>(sleep_s * 1e9))
        if failure:
            raise OSError(failure, f"cannot start the thread that wakes event loops: {strerror(failure)}")
        self.runs = True

    cdef bint usable(self):
        return self.runs and self.generation == fork_generation()

    def listen(self, int fd):
        cdef int place = relay_listen(&self.it, fd) if self.usable() else 0
        if place < 0:
            raise InvalidRequestError(
                f"{RELAY_LOOPS_MAX} event loops of this process wait for this cluster, which is all that one connection"
                " wakes: connect a second time for more")
        return place

    def arm(self, int place, unsigned int ticket):
        if self.usable() and 0 <= place < RELAY_LOOPS_MAX:
            relay_arm(&self.it, place, ticket)

    def disarm(self, int place):
        if self.usable() and 0 <= place < RELAY_LOOPS_MAX:
            relay_disarm(&self.it, place)

    def leave(self, int place):
        if self.usable() and 0 <= place < RELAY_LOOPS_MAX:
            with nogil:
                relay_leave(&self.it, place)

    def close(self):
        if self.usable():
            self.runs = False
            with nogil:
                relay_stop(&self.it)

    def __dealloc__(self):
        if self.usable():
            self.runs = False
            relay_stop(&self.it)
