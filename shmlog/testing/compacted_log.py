"""A log in files, without an owner, that tests and benchmarks compact: what it holds is read by a decoder not ours."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shmlog.log.compaction import Cleaned, clean
from shmlog.log.compaction_checkpoint import CompactionCheckpoint, read_compaction_checkpoint
from shmlog.log.segment import SUFFIXES, SegmentFiles, for_each_file, list_base_offsets
from shmlog.log.segment_facts import compaction_facts
from shmlog.log.storage import OsStorage, Storage
from shmlog.log.swap import swap
from shmlog.machines.compaction import CompactionDecision, decide_compaction
from shmlog.native.compaction import SLOT_BYTES
from shmlog.native.segment import SegmentWriter
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.segments import StoredRecord, kafka_python_decoder

ALWAYS = TopicConfig.from_mapping({"cleanup_policy": "compact", "min_cleanable_dirty_ratio": 0})
"""A topic whose logs are cleaned as soon as anything of them is dirty."""


def ignore(read: int, written: int) -> None:
    """A budget without end."""


@dataclass
class CompactedLog:
    """Segments in a directory. The last one is active, and nothing of it is ever cleaned."""

    directory: Path
    config: TopicConfig = ALWAYS
    storage: Storage = field(default_factory=OsStorage)
    index_interval_bytes: int = 200
    cleanings: int = 0
    """The number of the last one."""

    def __post_init__(self) -> None:
        self.config = dataclasses.replace(self.config, index_interval_bytes=self.index_interval_bytes)

    def write(self, base_offset: int, batches: Iterable[bytes]) -> int:
        """One segment; returns the offset at which it ends."""
        files = SegmentFiles.open(self.storage, str(self.directory), base_offset, create=True)
        writer = SegmentWriter(
            files.log_fd,
            files.index_fd,
            files.time_index_fd,
            base_offset=base_offset,
            index_interval_bytes=self.index_interval_bytes,
        )
        for batch in batches:
            writer.append(batch)
        writer.append_final_time_index()
        files.sync()
        files.close()
        return writer.next_offset

    def write_all(self, segments: Sequence[Sequence[bytes]]) -> None:
        """Segments of batches that have their offsets, and an active one without any behind them."""
        end = 0
        for segment in segments:
            end = self.write(end, segment)
        self.write(end, [])

    @property
    def bases(self) -> list[int]:
        return list_base_offsets(self.storage, str(self.directory))

    def end_of(self, base_offset: int) -> int:
        """Where the segment behind that one begins."""
        bases = self.bases
        return bases[bases.index(base_offset) + 1]

    @property
    def checkpoint(self) -> CompactionCheckpoint:
        return read_compaction_checkpoint(self.storage, str(self.directory))

    def decide(self, now_ms: int, uncleanable_offset: int | None = None) -> CompactionDecision | None:
        """What the machine says to the files as they are."""
        bases, checkpoint = self.bases, self.checkpoint
        return decide_compaction(
            [compaction_facts(self.storage, str(self.directory), base) for base in bases],
            self.config,
            now_ms=now_ms,
            first_dirty_offset=checkpoint.first_dirty_offset,
            uncleanable_offset=bases[-1] if uncleanable_offset is None else uncleanable_offset,
            delete_horizon_ms=checkpoint.delete_horizon_ms,
        )

    def clean(
        self,
        decision: CompactionDecision,
        now_ms: int,
        keys_max: int = 10_000,
        budget: Callable[[int, int], None] = ignore,
    ) -> Cleaned:
        """Write cleaned files, with a map that has room for so many keys."""
        memory = bytearray((keys_max + keys_max // 9 + 1) * SLOT_BYTES)
        self.cleanings += 1
        return clean(
            self.storage,
            str(self.directory),
            decision,
            memory,
            cleaning=self.cleanings,
            now_ms=now_ms,
            budget=budget,
        )

    def put_in_place(self, cleaned: Cleaned) -> None:
        """As the owner does it."""
        bases, directory = self.bases, str(self.directory)

        def drop(base_offset: int) -> None:
            for_each_file(directory, base_offset, self.storage.unlink)

        swap(self.storage, directory, cleaned.segments, bases, bases[-1], drop)

    def compact(self, now_ms: int, keys_max: int = 10_000) -> list[Cleaned]:
        """Decide, clean and put in place until there is nothing more to do."""
        done: list[Cleaned] = []
        while decision := self.decide(now_ms):
            done.append(self.clean(decision, now_ms, keys_max))
            self.put_in_place(done[-1])
        return done

    def segment_bytes(self, base_offset: int) -> bytes:
        return (self.directory / f"{base_offset:020d}.log").read_bytes()

    def batches(self) -> list[tuple[BatchHeader, bytes]]:
        """All batches, with their headers, in order."""
        found: list[tuple[BatchHeader, bytes]] = []
        for base_offset in self.bases:
            data, at = self.segment_bytes(base_offset), 0
            while at < len(data):
                header = BatchHeader.parse(data, at)
                found.append((header, data[at : at + header.size_bytes]))
                at += header.size_bytes
        return found

    def records(self) -> list[StoredRecord]:
        """All records, by kafka-python, which verifies the checksums; those of control batches are left out."""
        return [record for _, batch in self.batches() for record in kafka_python_decoder(batch)]

    def files(self) -> dict[str, bytes]:
        """Contents of all files by name."""
        return {name: (self.directory / name).read_bytes() for name in sorted(os.listdir(self.directory))}

    def segment_files(self) -> dict[str, bytes]:
        """Those of segments only."""
        return {name: data for name, data in self.files().items() if name.endswith(SUFFIXES)}
