# cython: language_level=3, boundscheck=False, wraparound=False
"""Headers of a record as they stand in a v2 batch."""

from cpython.bytes cimport PyBytes_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int64_t, uint64_t

import shmlog.arguments as arguments

cdef extern from "batch.h" nogil:
    uint64_t zigzag(int64_t v)
    unsigned char *put_varint(unsigned char *p, uint64_t z)


def encode_headers(headers):
    """(count, encoded headers): what follows the count in a v2 record. Names are str, values bytes or None."""
    cdef bytearray out = bytearray()
    cdef unsigned char scratch[10]
    cdef unsigned char *end
    cdef int count = 0
    if not isinstance(headers, (list, tuple)):
        headers = arguments.header_pairs(headers)
    for pair in headers:
        if not PyTuple_CheckExact(pair) or len(<tuple>pair) != 2:
            pair = arguments.header_pair(pair, headers)
        name, content = <tuple>pair
        if not PyUnicode_CheckExact(name) or not (content is None or PyBytes_CheckExact(content)):
            name, content = arguments.header_pair(pair, headers)
        try:
            encoded = (<str>name).encode()
        except UnicodeEncodeError:
            arguments.text(name, "the name of a header")
            raise
        end = put_varint(scratch, zigzag(len(encoded)))
        out += scratch[:end - scratch]
        out += encoded
        end = put_varint(scratch, zigzag(-1 if content is None else len(content)))
        out += scratch[:end - scratch]
        if content is not None:
            out += content
        count += 1
    return count, bytes(out)
