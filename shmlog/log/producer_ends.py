"""Which batch is each producer's last, as compaction must know it: what says a producer's last sequence number stays.

The newest snapshot says it, and the log what came after that; the rules of log/snapshot.py decide what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shmlog.log.segment import OFFSET_MAX, SNAPSHOT_SUFFIX, list_base_offsets
from shmlog.log.segment_pass import SegmentPass
from shmlog.log.snapshot import ProducerEntry, latest_snapshot, replay
from shmlog.log.storage import Storage
from shmlog.native.compaction import Walked
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES


def producer_ends(
    storage: Storage, directory: str, segments: Mapping[int, int], reading: SegmentPass
) -> dict[int, int]:
    """The last offset of each producer that the partition remembers, by producer id; -1 for one without records.

    `segments` are sealed ones from the log's beginning on, with where each ends. Those that the newest snapshot does
    not cover are read; normally there are none, because it was taken when the active segment was begun.
    """
    snapshots = list_base_offsets(storage, directory, SNAPSHOT_SUFFIX)
    taken_at, entries = latest_snapshot(storage, directory, snapshots, OFFSET_MAX)
    state = _Replay(taken_at, entries)
    for base_offset, end_offset in segments.items():
        if end_offset > taken_at:
            reading.over(base_offset, end_offset, state)
    return {entry.producer_id: entry.last_offset for entry in state.entries}


@dataclass(slots=True)
class _Replay:
    from_offset: int
    entries: list[ProducerEntry]

    def take(self, data: memoryview, next_offset: int, packed: memoryview | None) -> Walked:
        del packed
        headers: list[BatchHeader] = []
        at, wanted = 0, 0
        while at < len(data) and not wanted:
            wanted = HEADER_BYTES
            if len(data) - at >= HEADER_BYTES:
                header = BatchHeader.parse(data, at)
                wanted = header.size_bytes if header.size_bytes > len(data) - at else 0
                if not wanted:
                    headers.append(header)
                    at, next_offset = at + header.size_bytes, header.next_offset
        self.entries = replay(self.entries, (one for one in headers if one.base_offset >= self.from_offset))
        return Walked(at, next_offset, 0, wanted, 0, "")
