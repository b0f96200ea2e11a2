# cython: language_level=3
"""A disk that fails on order, a wall clock that is set: preloaded into a process this module wraps libc's calls, imported
it writes the orders."""

import errno as errno_names
import mmap
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "fault_shim.h" nogil:
    enum:
        FAULT_MAGIC, FAULT_ORDERS, FAULT_DIRECTORY_BYTES, FAULT_PLACE_BYTES
        FAULT_PWRITE, FAULT_WRITE, FAULT_FDATASYNC, FAULT_FSYNC, FAULT_OPEN, FAULT_RENAME, FAULT_FTRUNCATE
        FAULT_FALLOCATE
    const char *FAULT_VARIABLE
    ctypedef struct fault_order:
        uint32_t armed
        uint32_t calls
        int64_t error
        int64_t skip
        int64_t left
        int64_t until_ns
        uint64_t hits
        char place[40]
    ctypedef struct fault_page:
        uint64_t magic
        uint64_t armed
        char directory[512]
        int64_t wall_ns
        fault_order orders[32]
    int64_t fault_now_ns()
    uint64_t shm_load_relaxed(const void *p)
    void shm_store_relaxed(void *p, uint64_t v)
    void shm_store_release(void *p, uint64_t v)
    void shm_store32_release(void *p, uint32_t v)

VARIABLE = FAULT_VARIABLE.decode()
LIBRARY = __file__
CALLS = {
    "pwrite": FAULT_PWRITE, "write": FAULT_WRITE, "fdatasync": FAULT_FDATASYNC, "fsync": FAULT_FSYNC,
    "open": FAULT_OPEN, "rename": FAULT_RENAME, "ftruncate": FAULT_FTRUNCATE, "posix_fallocate": FAULT_FALLOCATE,
}


cdef class FaultOrders:
    """See fault_shim.pyi."""

    cdef object _mapping
    cdef unsigned char[::1] _bytes
    cdef fault_page *_page
    cdef readonly str path

    def __cinit__(self, str path not None, str directory not None):
        cdef bytes prefix = os.fsencode(os.path.abspath(directory)) + b"/"
        if len(prefix) >= FAULT_DIRECTORY_BYTES:
            raise ValueError(f"{directory!r} has more than {FAULT_DIRECTORY_BYTES - 2} bytes")
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, sizeof(fault_page))
            self._mapping = mmap.mmap(fd, sizeof(fault_page))
        finally:
            os.close(fd)
        self._bytes = self._mapping
        self._page = <fault_page *>&self._bytes[0]
        memcpy(self._page.directory, <const char *>prefix, len(prefix) + 1)
        self._page.magic = FAULT_MAGIC

    def arm(self, calls, error, *, place="", skip=0, count=1, seconds=1.0):
        cdef bytes name = os.fsencode(place)
        cdef uint32_t mask = 0
        cdef int64_t code = 0 if error is None else getattr(errno_names, error)
        cdef fault_order *order
        cdef int at
        if len(name) >= FAULT_PLACE_BYTES:
            raise ValueError(f"{place!r} has more than {FAULT_PLACE_BYTES - 1} bytes")
        for call in calls:
            mask |= <uint32_t>CALLS[call]
        for at in range(FAULT_ORDERS):
            order = &self._page.orders[at]
            if order.armed:
                continue
            memset(order, 0, sizeof(fault_order))
            memcpy(order.place, <const char *>name, len(name) + 1)
            order.calls = mask
            order.error = code
            order.skip = skip
            order.left = count
            order.until_ns = fault_now_ns() + <int64_t>(seconds * 1e9)
            shm_store32_release(&order.armed, 1)  # SYNC POINT fault-arm: pairs with fault-read
            shm_store_release(&self._page.armed, self._page.armed + 1)
            return at
        raise ValueError(f"all {FAULT_ORDERS} orders are armed")

    def disarm(self, int order):
        if not 0 <= order < FAULT_ORDERS:
            raise ValueError(f"orders are 0 to {FAULT_ORDERS - 1}, not {order}")
        if self._page.orders[order].armed:
            shm_store32_release(&self._page.orders[order].armed, 0)
            shm_store_release(&self._page.armed, self._page.armed - 1)
        return shm_load_relaxed(&self._page.orders[order].hits)

    def hits(self, int order):
        if not 0 <= order < FAULT_ORDERS:
            raise ValueError(f"orders are 0 to {FAULT_ORDERS - 1}, not {order}")
        return shm_load_relaxed(&self._page.orders[order].hits)

    def set_wall_clock(self, seconds):
        shm_store_relaxed(&self._page.wall_ns, <uint64_t><int64_t>(seconds * 1e9))
