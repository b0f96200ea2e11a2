from libc.stdint cimport int64_t, uint32_t

from shmlog.native.mapping cimport Mapping

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()
    int64_t wall_ms()
    int futex_wait_until(const void *word, uint32_t expected, int64_t deadline_ns)
    int bell_ring_if_sleeping(unsigned char *bell)


cdef class Doorbell:
    cdef readonly Mapping mapping
    cdef int sleepers

    cpdef unsigned int prepare(self) except? 0
    cpdef bint wait(self, unsigned int ticket, double timeout_s) except? True
    cpdef cancel(self)
    cpdef bint ring(self) except? True
    cdef void _leave(self) noexcept
