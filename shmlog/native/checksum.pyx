# cython: language_level=3
"""CRC-32C of batches and murmur2 of keys."""

cdef extern from "crc32c.h" nogil:
    unsigned int c_crc32c "crc32c"(unsigned int crc, const void *p, size_t n)
    unsigned int crc32c_portable_raw(unsigned int crc, const unsigned char *p, size_t n)
    const char *crc32c_flavour

cdef extern from "murmur2.h" nogil:
    unsigned int c_murmur2 "murmur2"(const unsigned char *data, size_t length)


def crc32c(const unsigned char[::1] data not None, unsigned int value=0):
    return c_crc32c(value, &data[0], <size_t>data.shape[0]) if data.shape[0] else value


def crc32c_portable(const unsigned char[::1] data not None, unsigned int value=0):
    return (~crc32c_portable_raw(~value, &data[0], <size_t>data.shape[0])) & 0xFFFFFFFF if data.shape[0] else value


def flavour():
    return crc32c_flavour.decode()


def murmur2(bytes key not None):
    return c_murmur2(<const unsigned char *>key, <size_t>len(key))
