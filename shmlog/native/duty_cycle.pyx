# cython: language_level=3, boundscheck=False, wraparound=False
"""The owner's duty cycle while it is let alone: sleep, publish what came, sleep again, with no Python in between."""

from libc.stdint cimport int64_t, uint64_t

from shmlog.native.doorbell cimport Doorbell, monotonic_ns
from shmlog.native.publish cimport Publisher

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events, revents
    int poll(pollfd *fds, unsigned long count, int timeout_ms)
    enum: POLLIN

cdef extern from "layout.h" nogil:
    enum: COUNTER_SLEEPS


cdef bint is_readable(int fd) noexcept nogil:
    """Also at its end, or when it cannot be asked: then somebody should look."""
    cdef pollfd asked
    asked.fd = fd
    asked.events = POLLIN
    asked.revents = 0
    return poll(&asked, 1, 0) != 0


def rest(Publisher publisher not None, Doorbell bell not None, *, int channel_fd, int64_t until_ns, int64_t turn_ns,
         int64_t look_ns, int64_t budget_ns):
    """See duty_cycle.pyi."""
    cdef int64_t deadline_ns = until_ns, next_look_ns, now
    cdef uint64_t tail_pos, follower_news, began_pos = publisher.tail_pos
    cdef unsigned int ticket
    cdef int outcome
    while True:
        follower_news = publisher.follower_news
        ticket = bell.prepare()
        next_look_ns = monotonic_ns() + look_ns
        if is_readable(channel_fd):
            bell.cancel()
            return True
        if publisher._has_work():
            bell.cancel()
        else:
            publisher._count(COUNTER_SLEEPS, 1)
            bell.wait(ticket, (min(deadline_ns, next_look_ns, publisher.next_deadline_ns) - monotonic_ns()) / 1e9)
        tail_pos = publisher.tail_pos
        with nogil:
            outcome = publisher._run(budget_ns)
        if outcome != 0:  # the agent runs it again and hears the same
            return True
        if publisher.tail_pos == tail_pos and publisher.follower_news == follower_news:
            now = monotonic_ns()
            if next_look_ns <= now < deadline_ns:
                continue  # this was a look, and run() has shown that this heart beats
            return now < deadline_ns
        deadline_ns = min(until_ns, turn_ns)
        if monotonic_ns() >= deadline_ns or publisher.tail_pos - began_pos > publisher.capacity:
            return True
