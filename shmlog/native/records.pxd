from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from "batch_walk.h" nogil:
    enum: WALK_BATCH, WALK_PASS, WALK_END, WALK_LENGTH, WALK_FORMAT, WALK_CHECKSUM, WALK_CODEC, WALK_RECORD, WALK_TRAILING
    ctypedef struct record_fields:
        int64_t timestamp_delta, offset_delta
        const unsigned char *key
        const unsigned char *value
        const unsigned char *headers
        const unsigned char *end
        int64_t key_length, value_length, header_count
    ctypedef struct batch_view:
        const unsigned char *records
        const unsigned char *end
        int64_t base_offset, last_offset, base_timestamp, max_timestamp
        uint32_t count, attributes
        int32_t leader_epoch
    const unsigned char *get_record(const unsigned char *p, const unsigned char *end, record_fields *r)
    int look_at_batch(const unsigned char *batch, const unsigned char *end, int64_t from_offset, int64_t limit_offset,
                      int check_crcs, int first, batch_view *view)
    int64_t record_timestamp(const batch_view *view, const record_fields *record)
    int64_t records_at_most(const unsigned char *batch, const unsigned char *end)


cdef class Record:
    cdef readonly str topic
    cdef readonly int32_t partition, leader_epoch
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp_ms
    cdef bytes chunk          # the batches that the lazy fields lie in
    cdef object _key, _value, _headers
    cdef Py_ssize_t key_at, key_length, value_at, value_length, headers_at, headers_end
    cdef int header_count


cdef damaged(int problem, bytes chunk, const unsigned char *batch, str topic, int32_t partition, int64_t detail)
cdef Record new_record(bytes chunk, str topic, int32_t partition, int64_t offset, int64_t timestamp_ms, int32_t leader_epoch,
                       const record_fields *fields)
