# cython: language_level=3, boundscheck=False, wraparound=False
"""What a producer gets back for its records: a delivery each, and one result for all that travel in one batch."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from shmlog.model import RecordMetadata

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
                              batch.base_offset + self.index if batch.base_offset >= 0 else -1, self.timestamp_ms)

    def __await__(self):
        if self.batch.status == RESULT_PENDING and self.batch.acks != 0:
            yield from self.batch.waiter._settled(self.batch).__await__()
        return self.result()

    @property
    def error(self):
        return self.batch.error
