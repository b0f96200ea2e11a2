"""Records as columns: where everything lies in the fetched batches, and not a Python object for any record."""

from collections.abc import Iterator
from typing import Any, final, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from shmlog.native.records import Record

@final
class RecordColumns:
    """Records of one partition in order, as a consumer's poll_columns() gives them; none of them: false.

    Keys and values are bytes, whatever deserializers the consumer has. They stay where they were read to: `buffer` is
    the fetched piece of the log, and the arrays say where in it everything lies. Nothing here can be written to, and
    nothing of it changes later. All of it stays alive as long as any array that was made without a copy.
    """

    topic: str
    partition: int
    buffer: bytes
    """Whole batches. Keys and values lie in it, with what the log has around them."""
    has_headers: bool
    """Whether any record has headers."""

    def __init__(self) -> None:
        """No records."""

    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def timestamps_ms(self) -> NDArray[np.int64]:
        """Milliseconds since 1970; `.view("datetime64[ms]")` are times."""

    @property
    def key_starts(self) -> NDArray[np.int64]:
        """Where each key begins in `buffer`."""

    @property
    def key_lengths(self) -> NDArray[np.int64]:
        """How many bytes each key has; -1: null."""

    @property
    def value_starts(self) -> NDArray[np.int64]:
        """Where each value begins in `buffer`."""

    @property
    def value_lengths(self) -> NDArray[np.int64]:
        """How many bytes each value has; -1: null."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Record]: ...
    @overload
    def __getitem__(self, k: int) -> Record: ...
    @overload
    def __getitem__(self, k: slice) -> RecordColumns: ...
    def values(self) -> list[bytes | None]: ...
    def keys(self) -> list[bytes | None]: ...
    def headers(self) -> list[tuple[tuple[str, bytes | None], ...]]: ...
    def values_as(self, dtype: DTypeLike) -> NDArray[Any]:
        """The values as an array of a numpy type of fixed width: "S100", "V16", a structured one, "(100,)u1".

        Without a copy where the values lie at equal distances, in one copy otherwise (between batches there are
        headers, and the numbers in front of records grow). With S, shorter values are filled up with zero bytes, as
        numpy does it; for any other type every value must be as long as an item. Raises InvalidArgumentError naming the
        first offset that does not fit, or that is null.
        """

    def keys_as(self, dtype: DTypeLike) -> NDArray[Any]:
        """The same of the keys."""

    def to_arrow(self) -> Any:
        """A pyarrow.RecordBatch with the columns offset, timestamp_ms, key and value (`pip install 'shmlog[arrow]'`).

        Keys and values are of Arrow's type binary_view, which points into `buffer`: they are not copied. (The type
        binary wants values without gaps, which batches are not: cast() to it makes that copy.)
        """

def decode_columns(
    chunk: bytes,
    topic: str,
    partition: int,
    from_offset: int,
    limit_offset: int,
    max_records: int,
    check_crcs: bool = True,
) -> tuple[RecordColumns, int, int, int]:
    """As decode_batches(), with the same errors."""
