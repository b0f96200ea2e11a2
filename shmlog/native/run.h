/* A run: records that are encoded into a lane one after the other, and counted together, without a Python object made
 * for any of them. The caller holds the GIL, so lists stay as they are while records are encoded, but not between two
 * changes of the word; and arrays may be written to by other threads at any time. So every bound is read once, where it
 * is used, and checked there. */
#ifndef SHMLOG_RUN_H
#define SHMLOG_RUN_H

#include <Python.h>

#include "encode.h"
#include "layout.h"

/* COLUMN_NULLS: all null. OBJECTS: bytes or None. ROWS: `width` bytes every `stride`. TRIMMED: the same without the zero
 * bytes at the end. OFFSETS32, OFFSETS64: bytes offsets[k] to offsets[k + 1] of `data`. */
enum { COLUMN_NULLS = 0, COLUMN_OBJECTS, COLUMN_ROWS, COLUMN_TRIMMED, COLUMN_OFFSETS32, COLUMN_OFFSETS64 };

typedef struct {
    int kind;
    const unsigned char *data;
    int64_t size_bytes, stride, width; /* size_bytes: of `data`, where offsets lead into it */
    const void *offsets;
    const uint8_t *validity;           /* Arrow's bitmap; NULL: nothing is null */
    int64_t validity_from;             /* the bit of item 0 */
    PyObject *sequence;                /* a list or tuple, which the caller keeps alive */
} column_source;

/* Item k, a length of -1 for null. 0: it needs somebody who knows Python, or its offsets lie. */
static inline int column_at(const column_source *column, int64_t k, const unsigned char **at, int64_t *length) {
    int64_t from, to;
    *at = NULL;
    *length = -1;
    if (column->validity) {
        int64_t bit = column->validity_from + k;
        if (!(column->validity[bit >> 3] >> (bit & 7) & 1)) return 1;
    }
    switch (column->kind) {
    case COLUMN_NULLS:
        return 1;
    case COLUMN_OBJECTS: {
        PyObject *item;
        if (k >= PySequence_Fast_GET_SIZE(column->sequence)) return 0;
        item = PySequence_Fast_GET_ITEM(column->sequence, k);
        if (item == Py_None) return 1;
        if (!PyBytes_CheckExact(item)) return 0;
        *at = (const unsigned char *)PyBytes_AS_STRING(item);
        *length = PyBytes_GET_SIZE(item);
        return 1;
    }
    case COLUMN_ROWS:
        *at = column->data + k * column->stride;
        *length = column->width;
        return 1;
    case COLUMN_TRIMMED:
        *at = column->data + k * column->stride;
        *length = column->width;
        while (*length > 0 && !(*at)[*length - 1]) --*length;
        return 1;
    case COLUMN_OFFSETS32:
        from = ((const volatile int32_t *)column->offsets)[k];
        to = ((const volatile int32_t *)column->offsets)[k + 1];
        break;
    default:
        from = ((const volatile int64_t *)column->offsets)[k];
        to = ((const volatile int64_t *)column->offsets)[k + 1];
    }
    if (from < 0 || to < from || to > column->size_bytes) return 0;
    *at = column->data + from;
    *length = to - from;
    return 1;
}

typedef struct {
    column_source values, keys;
    const int64_t *timestamps;  /* one for each record; NULL: all are of timestamp_ms */
    int64_t timestamp_ms;
    int64_t earliest_ms, latest_ms; /* what the topic takes, as far as the producer knows; with keys only, perhaps */
    int needs_keys;
    int64_t next, end;          /* records [next, end) are still to be sent */
    int64_t quota;              /* bytes that may go to this partition before it is another's turn */
    uint64_t bytes;             /* of what put_run wrote: how many, the largest timestamp, and how much of the quota */
    int64_t max_timestamp, spent;
} record_run;

static inline int64_t run_timestamp(const record_run *run, int64_t k) {
    return run->timestamps ? run->timestamps[k] : run->timestamp_ms;
}

/* Encode the next records of a run at `p`, as many as fit into `room` bytes, behind `index` records of an open batch with
 * the largest timestamp `max_timestamp`; returns how many.
 *
 * The batch's largest timestamp lies in two cells, and the count's parity says which one is valid. The cell that is
 * valid now must not change before the count does. So if the largest timestamp grows, the number is odd. */
static inline int64_t put_run(unsigned char *p, uint64_t room, record_run *run, uint32_t index, int64_t base_timestamp,
                              int64_t max_timestamp) {
    const column_source values = run->values, keys = run->keys;
    const int64_t earliest = run->earliest_ms, latest = run->latest_ms;
    const int needs_keys = run->needs_keys;
    unsigned char *start = p, *last = p;
    int64_t k = run->next, spent = 0, largest = max_timestamp, last_largest = max_timestamp, last_spent = 0, taken;
    for (; k < run->end && spent < run->quota && index + (uint64_t)(k - run->next) < OPEN_COUNT_MASK; k++) {
        const unsigned char *key, *value;
        int64_t key_length, value_length, timestamp = run_timestamp(run, k), delta = timestamp - base_timestamp;
        uint32_t number = index + (uint32_t)(k - run->next);
        uint64_t body, need;
        if (!column_at(&values, k, &value, &value_length) || !column_at(&keys, k, &key, &key_length)) break;
        if (timestamp < earliest || timestamp > latest || (key_length < 0 && needs_keys)) break;
        body = record_body_bytes(delta, number, key_length, value_length, 0, 0);
        need = body + varint_bytes(zigzag((int64_t)body));
        if (need > room - (uint64_t)(p - start)) break;
        last = p;
        last_largest = largest;
        last_spent = spent;
        p = put_record(p, body, delta, number, key, key_length, value, value_length, 0);
        if (timestamp > largest) largest = timestamp;
        spent += value_length + 10;
    }
    taken = k - run->next;
    if (index && taken && !(taken & 1) && largest > max_timestamp) {
        taken--;
        p = last;
        largest = last_largest;
        spent = last_spent;
    }
    run->bytes = (uint64_t)(p - start);
    run->max_timestamp = largest;
    run->spent = spent;
    return taken;
}

#endif
