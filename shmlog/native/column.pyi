"""Values or keys of many records in memory that somebody else laid out: arrays, and offsets into a buffer."""

class Column:
    """One item for each record, without a Python object for any of them; holds on to the memory, copies nothing.

    `given` is an array of fixed width (by the buffer protocol: bytes in two dimensions, numpy's dtypes S, V and
    structured ones), a pair of offsets (int32 or int64, one more than records) and a contiguous buffer, or an Arrow
    array of binary, string or fixed-size binary, whose nulls are null. Raises InvalidArgumentError that names `name`.
    """

    count: int

    def __init__(self, given: object, name: str) -> None: ...
