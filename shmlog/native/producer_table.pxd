from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t

cdef extern from "producers.h" nogil:
    enum: PRODUCER_NEW, PRODUCER_DUPLICATE, PRODUCER_FENCED, PRODUCER_GAP
    ctypedef struct producer_entry:
        int64_t producer_id
        uint16_t batch_count
        int32_t lanes
    ctypedef struct producer_table:
        producer_entry *entries
        size_t capacity, used, remembered
    const producer_entry *producer_find(const producer_table *t, int64_t id)
    producer_entry *producer_entry_of(producer_table *t, int64_t id)
    int producer_check(const producer_entry *e, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t *base_offset)
    void producer_forget(producer_table *t, producer_entry *e)
    int producer_remember(producer_table *t, int64_t id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t base_offset,
                          int64_t timestamp_ms)


cdef class ProducerTable:
    cdef producer_table table
    cdef readonly uint64_t image_turn

    cdef int check(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t *base_offset) noexcept nogil
    cdef int record(self, int64_t producer_id, int16_t epoch, int32_t base_sequence, uint32_t count, int64_t base_offset,
                    int64_t timestamp_ms) noexcept nogil
    cdef void store_image(self, unsigned char *images, uint64_t pos) noexcept nogil
    cdef _put(self, const unsigned char *entry)
