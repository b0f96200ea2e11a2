"""Records as Python sees them, decoded lazily from the batches that they lie in."""

from collections.abc import Iterable
from typing import Any, final

@final
class Record:
    """One record of a partition, as a consumer gets it; it can be built, compared and pickled as well.

    `offset` counts records of the partition from 0; `timestamp_ms` is milliseconds since 1970. `key` and `value` are
    bytes or None, or what the consumer's deserializers made of them. `leader_epoch` is the one that the record was
    written under, -1 if it was never in a log; records that differ in nothing else are equal.

    Keys and values are cut out of the fetched batches when they are first asked for, so a record keeps up to a fetch
    (256 KiB) alive; `pickle` or a copy of the fields does not.
    """

    def __init__(
        self,
        topic: str = "",
        partition: int = 0,
        offset: int = 0,
        timestamp_ms: int = 0,
        key: Any = None,
        value: Any = None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        leader_epoch: int = -1,
    ) -> None: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def leader_epoch(self) -> int: ...
    @property
    def key(self) -> Any: ...
    @property
    def value(self) -> Any: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]: ...

def decode_batches(
    chunk: bytes,
    topic: str,
    partition: int,
    from_offset: int,
    limit_offset: int,
    max_records: int,
    check_crcs: bool = True,
) -> tuple[list[Record], int, int, int]:
    """Decode whole batches at the start of `chunk` into at most `max_records` records.

    Returns the records with from_offset <= offset, the offset to go on from, how many bytes of `chunk` are done
    with (a batch that was only partly returned is not), and the leader epoch of the last batch that was looked at, -1
    without one. Batches whose base offset is not below `limit_offset`, and an
    incomplete batch at the end of the chunk, are left. Control batches are skipped, but count for the offset.
    None is compressed: record.expansion saw to that.
    Raises CorruptRecordError for a wrong checksum or structure.
    """
