"""What a reader of committed records is shown of a log: nothing that was taken back, nothing still undecided."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from shmlog.log.snapshot import ProducerEntry
from shmlog.log.transaction_index import AbortedTransaction
from shmlog.record.header import BatchHeader


class CommittedView:
    """Leaves aborted batches out of chunks of a log.

    One producer has one transaction at a time, so its aborted ones do not overlap.
    """

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        self._of_producer: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for one in aborted:
            self._of_producer[one.producer_id].append((one.first_offset, one.last_offset))
        for ranges in self._of_producer.values():
            ranges.sort()

    def is_aborted(self, header: BatchHeader) -> bool:
        """Whether the batch belongs to a transaction that was taken back. Markers do not."""
        ranges = self._of_producer.get(header.producer_id)
        if not ranges or header.is_control:
            return False
        number = bisect_right(ranges, header.base_offset, key=lambda one: one[0])
        return number > 0 and header.base_offset <= ranges[number - 1][1]

    def committed(self, chunk: bytes) -> bytes:
        """The chunk, which is whole batches, without those that were taken back."""
        if not self._of_producer:
            return chunk
        kept, at, kept_from = [], 0, 0
        while at < len(chunk):
            header = BatchHeader.parse(chunk, at)
            if self.is_aborted(header):
                kept.append(chunk[kept_from:at])
                kept_from = at + header.size_bytes
            at += header.size_bytes
        return b"".join([*kept, chunk[kept_from:]]) if kept else chunk


def last_stable_offset(producers: Iterable[ProducerEntry], end_offset: int) -> int:
    """Where the oldest transaction begins that is still open at the log's end; the end if none is."""
    return min(
        (one.transaction_first_offset for one in producers if one.transaction_first_offset >= 0), default=end_offset
    )
