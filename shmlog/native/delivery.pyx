# cython: language_level=3, boundscheck=False, wraparound=False
"""What a producer gets back for its records: a delivery each, and one result for all that travel in one batch."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint32_t, uint64_t

import shmlog.arguments as arguments
from shmlog.model import RecordMetadata

cdef extern from "futex.h" nogil:
    int64_t monotonic_ns()

cdef uint64_t calls = 0  # of send_many() and send_columns(), so that a batch knows by which it was met last

PENDING = RESULT_PENDING
ACKNOWLEDGED = RESULT_ACKNOWLEDGED
FAILED = RESULT_FAILED


@cython.final
cdef class BatchResult:
    """See delivery.pyi."""

    def fail(self, error):
        """Settle a batch whose outcome is an error (the producer decides)."""
        if self.status == RESULT_PENDING:
            self.status = RESULT_FAILED
            self.error = error

    cdef Delivery delivery(self, uint32_t index, int64_t timestamp_ms):
        cdef Delivery delivery = Delivery.__new__(Delivery)
        delivery.batch = self
        delivery.index = index
        delivery.timestamp_ms = timestamp_ms
        return delivery


@cython.final
@cython.freelist(512)
@cython.no_gc
cdef class Delivery:
    """See delivery.pyi."""

    @property
    def done(self):
        return self.batch.status != RESULT_PENDING or self.batch.acks == 0

    def result(self, timeout=None):
        cdef BatchResult batch = self.batch
        if batch.status == RESULT_PENDING and batch.acks != 0:
            batch.waiter._await_batch(batch, timeout)
        if batch.status == RESULT_FAILED:
            raise batch.error
        return RecordMetadata(batch.topic, batch.partition,
                              batch.base_offset + self.index if batch.base_offset >= 0 else -1,
                              batch.append_ms if batch.append_ms else self.timestamp_ms)

    def __await__(self):
        if self.batch.status == RESULT_PENDING and self.batch.acks != 0:
            yield from self.batch.waiter._settled(self.batch).__await__()
        return self.result()

    @property
    def error(self):
        return self.batch.error


@cython.final
cdef class Deliveries:
    """See delivery.pyi."""

    def __cinit__(self):
        global calls
        calls += 1
        self.call = calls
        self.batches = []

    def __dealloc__(self):
        PyMem_Free(self.runs)

    cdef int add(self, BatchResult batch, uint32_t first, int64_t count, int64_t timestamp_ms) except -1:
        """The next `count` records are those from `first` on of a batch."""
        cdef delivery_run *last
        if self.run_count:
            last = &self.runs[self.run_count - 1]
            if self.batches[last.batch] is batch and last.timestamp_ms == timestamp_ms and first == last.first + self.count - last.start:
                self.count += count
                return 0
        if self.run_count == self.run_room:
            self.run_room = 2 * self.run_room + 16
            last = <delivery_run *>PyMem_Realloc(self.runs, self.run_room * sizeof(delivery_run))
            if last == NULL:
                raise MemoryError
            self.runs = last
        if batch.met_by != self.call:
            batch.met_by = self.call
            batch.met_as = <uint32_t>len(self.batches)
            self.batches.append(batch)
        last = &self.runs[self.run_count]
        last.batch = batch.met_as
        last.first = first
        last.start = self.count
        last.timestamp_ms = timestamp_ms
        self.run_count += 1
        self.count += count
        return 0

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t k):
        cdef Py_ssize_t low = 0, high = self.run_count - 1, middle
        cdef delivery_run *run
        cdef int64_t timestamp_ms
        if k < 0:
            k += self.count
        if not 0 <= k < self.count:
            raise IndexError(f"there are {self.count} deliveries, none has number {k}")
        while low < high:  # the last run that starts at k or before
            middle = (low + high + 1) // 2
            if self.runs[middle].start <= k:
                low = middle
            else:
                high = middle - 1
        run = &self.runs[low]
        timestamp_ms = run.timestamp_ms
        if self.timestamps is not None:
            timestamp_ms = (<int64_t *>PyBytes_AS_STRING(self.timestamps))[k]
        return (<BatchResult>self.batches[run.batch]).delivery(run.first + <uint32_t>(k - run.start), timestamp_ms)

    def __await__(self):
        cdef Py_ssize_t k
        for k in range(len(self.batches)):
            yield from (<BatchResult>self.batches[k]).delivery(0, 0).__await__()
        return self.result()

    def result(self, timeout=None):
        """Wait for all; returns their offsets in order. Raises the first error."""
        cdef BatchResult batch
        cdef list offsets = []
        cdef Py_ssize_t k
        cdef int64_t end, first
        timeout = arguments.seconds(timeout)
        cdef double deadline = 0.0 if timeout is None else monotonic_ns() / 1e9 + <double>timeout
        for k in range(self.run_count):
            batch = <BatchResult>self.batches[self.runs[k].batch]
            end = (self.runs[k + 1].start if k + 1 < self.run_count else self.count) - self.runs[k].start
            batch.delivery(0, 0).result(None if timeout is None else max(0.0, deadline - monotonic_ns() / 1e9))
            first = batch.base_offset + self.runs[k].first
            offsets.extend(range(first, first + end) if batch.base_offset >= 0 else [-1] * end)
        return offsets
