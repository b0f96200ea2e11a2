# cython: language_level=3
"""Memory that forked processes inherit, and give back where they left it as it was."""

from libc.errno cimport errno
from libc.stdint cimport int64_t

cdef extern from "inherited.h" nogil:
    int64_t inherited_keep()
    int64_t inherited_give_back()


def keep():
    """See inherited.pyi."""
    cdef int64_t kept_bytes = inherited_keep()
    if kept_bytes < 0:
        raise OSError(errno, "cannot keep what forked processes inherit")
    return kept_bytes


def give_back():
    """See inherited.pyi."""
    cdef int64_t given_bytes = inherited_give_back()
    if given_bytes < 0:
        raise OSError(errno, "cannot tell what of the inherited memory is as it was")
    return given_bytes
