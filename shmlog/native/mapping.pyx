# cython: language_level=3
"""Shared-memory regions mapped into this process."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno

from shmlog.errors import ForkedHandleError, HandleClosedError

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)
    enum: PROT_NONE, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MADV_DONTFORK
    void *MAP_FAILED

cdef extern from "access.h" nogil:
    enum: SHM_GUARD_BYTES

cdef extern from "cut_guard.h" nogil:
    int c_outlive_cut_ranges "outlive_cut_ranges"()

cdef extern from "<unistd.h>" nogil:
    long sysconf(int name)
    enum: _SC_PAGESIZE


def outlive_cut_regions():
    """See mapping.pyi."""
    if c_outlive_cut_ranges() != 0:
        raise OSError(errno, "sigaction(SIGBUS) failed")


cdef class Mapping:
    """See mapping.pyi."""

    def __cinit__(self, int fd, size_t size_bytes, *, bint writable=False, long doubled_from=-1):
        cdef size_t page = <size_t>sysconf(_SC_PAGESIZE)
        cdef int protection = PROT_READ | (PROT_WRITE if writable else 0)
        cdef size_t doubled_bytes = 0
        cdef void *address
        self.base = NULL
        if size_bytes == 0 or size_bytes % page:
            raise ValueError(f"a region is a positive multiple of the page size {page}, not {size_bytes}")
        if doubled_from >= 0:
            if doubled_from % page or <size_t>doubled_from >= size_bytes:
                raise ValueError(f"doubled_from must be a multiple of {page} below {size_bytes}, not {doubled_from}")
            doubled_bytes = size_bytes - <size_t>doubled_from
        self.generation = fork_generation()
        self.size_bytes = size_bytes
        self.mapped_bytes = size_bytes + doubled_bytes
        self.writable = writable
        address = mmap(NULL, self.mapped_bytes + 2 * SHM_GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if address == MAP_FAILED:
            raise OSError(errno, f"cannot reserve {self.mapped_bytes} bytes of address space")
        self.base = <unsigned char *>address + SHM_GUARD_BYTES
        address = self.base
        if mmap(address, size_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED:
            self._unmap()
            raise OSError(errno, f"cannot map {size_bytes} bytes of shared memory")
        if doubled_bytes and mmap(self.base + size_bytes, doubled_bytes, protection, MAP_SHARED | MAP_FIXED, fd,
                                  doubled_from) == MAP_FAILED:
            self._unmap()
            raise OSError(errno, f"cannot map {doubled_bytes} bytes of shared memory a second time")
        if writable and madvise(address, self.mapped_bytes, MADV_DONTFORK) != 0:
            self._unmap()
            raise OSError(errno, "madvise(MADV_DONTFORK) failed")
        range_list(&self.range, self.base, self.mapped_bytes)

    cdef int check(self) except -1:
        if self.base == NULL:
            raise HandleClosedError("this shared-memory handle is closed; open a new one")
        if self.generation != fork_generation():
            raise ForkedHandleError("this shared-memory handle was opened before fork(); open a new one in the child process")
        return 0

    cdef int check_range(self, size_t offset, size_t length) except -1:
        self.check()
        if offset > self.mapped_bytes or length > self.mapped_bytes - offset:
            raise IndexError(f"bytes {offset}..{offset + length} lie outside a region of {self.mapped_bytes} bytes")
        return 0

    def load(self, size_t offset):
        if offset & 7:
            raise ValueError(f"shared cells are aligned to 8 bytes, not at {offset}")
        self.check_range(offset, 8)
        return shm_load_acquire(self.base + offset)

    def store(self, size_t offset, uint64_t value):
        self._check_writable(offset, 8)
        shm_store_release(self.base + offset, value)

    def read(self, size_t offset, size_t length):
        self.check_range(offset, length)
        return (<const char *>self.base + offset)[:length]

    def write(self, size_t offset, const unsigned char[::1] data not None):
        self._check_writable(offset, <size_t>data.shape[0])
        if data.shape[0]:
            shm_copy_in(self.base + offset, &data[0], <size_t>data.shape[0])

    def _check_writable(self, size_t offset, size_t length):
        if offset & 7 and length == 8:
            raise ValueError(f"shared cells are aligned to 8 bytes, not at {offset}")
        if not self.writable:
            raise ValueError("this region is mapped read-only")
        self.check_range(offset, length)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self.check()
        PyBuffer_FillInfo(buffer, self, self.base, <Py_ssize_t>self.mapped_bytes, not self.writable, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1

    @property
    def address(self):
        self.check()
        return <size_t>self.base

    @property
    def closed(self):
        return self.base == NULL

    def close(self):
        if self.exports:
            raise BufferError(f"{self.exports} buffers of this region are still in use")
        self._unmap()

    cdef void _unmap(self):
        range_unlist(&self.range)
        # In a forked child the range is not ours: writable regions are not inherited, something else may lie there.
        if self.base != NULL and self.generation == fork_generation():
            munmap(self.base - SHM_GUARD_BYTES, self.mapped_bytes + 2 * SHM_GUARD_BYTES)
        self.base = NULL

    def __dealloc__(self):
        self._unmap()
