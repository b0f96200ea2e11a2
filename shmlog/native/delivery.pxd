from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum:
    RESULT_PENDING = 0
    RESULT_ACKNOWLEDGED = 1
    RESULT_FAILED = 2


cdef class Delivery


cdef class BatchResult:
    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly int64_t base_offset
    cdef readonly int64_t append_ms
    cdef readonly uint32_t count
    cdef readonly int status
    cdef readonly int64_t opened_ns
    cdef readonly object error
    cdef public list callbacks
    cdef object waiter
    cdef uint64_t pos, met_by
    cdef uint32_t met_as
    cdef uint32_t length
    cdef int acks

    cdef Delivery delivery(self, uint32_t index, int64_t timestamp_ms)


cdef class Delivery:
    cdef BatchResult batch
    cdef uint32_t index
    cdef int64_t timestamp_ms


cdef struct delivery_run:
    uint32_t batch         # its number in `batches`
    uint32_t first         # the record of the batch that comes first
    int64_t start          # how many records come before this run
    int64_t timestamp_ms   # of all its records, unless `timestamps` has theirs


cdef class Deliveries:
    cdef list batches
    cdef delivery_run *runs
    cdef Py_ssize_t run_count, run_room
    cdef int64_t count
    cdef uint64_t call
    cdef bytes timestamps  # int64, one for each record, or None

    cdef int add(self, BatchResult batch, uint32_t first, int64_t count, int64_t timestamp_ms) except -1
