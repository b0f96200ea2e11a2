"""What owners and consumers publish in shared memory, read without asking any of them.

The supervisor is asked once for the regions' names, and again only when refresh() is called; samples cost a few loads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from shmlog.client.results import ClusterInfo, TopicInfo
from shmlog.errors import ShmlogError
from shmlog.memory import names
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.control_page import ControlPage


@dataclass(frozen=True, slots=True)
class PartitionSample:
    """One partition's published cells at one moment. Bytes are those ever appended; `at_ns` is monotonic."""

    topic: str
    partition: int
    partition_id: int
    pid: int
    state: str
    leader_epoch: int
    log_start_offset: int
    high_watermark: int
    log_end_offset: int
    bytes: int
    ring_bytes: int
    lanes: int
    error: str
    rewrites: int
    """How often its log was written to new files because a sync had failed."""
    at_ns: int

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class Position:
    """How far one client process is in one partition."""

    client_id: int
    pid: int
    partition_id: int
    next_offset: int


def region_tag(cluster: ClusterInfo) -> str:
    """The part that stands for the cluster in the names of its regions."""
    return names.cluster_tag(cluster.cluster_id, cluster.runtime_dir)


@dataclass(slots=True)
class Observer:
    """Maps the control pages of some topics' partitions read-only; owned by who made it."""

    pages: dict[tuple[str, int], ControlPage] = field(default_factory=dict)
    regions: dict[int, tuple[int, ClientRegion]] = field(default_factory=dict)

    def refresh(self, cluster: ClusterInfo, topics: Sequence[TopicInfo]) -> None:
        """Open the pages and client regions that are new, and close those that are gone."""
        tag = region_tag(cluster)
        wanted = {(topic.name, p.partition): p for topic in topics for p in topic.partitions}
        for place in self.pages.keys() - wanted.keys():
            self.pages.pop(place).close()
        for place, partition in wanted.items():
            if place not in self.pages:
                with contextlib.suppress(FileNotFoundError, ShmlogError):  # not made yet, or just deleted
                    self.pages[place] = ControlPage.open(tag, partition.partition_id)
        named = {client.client_id: client for client in cluster.clients}
        for client_id in self.regions.keys() - named.keys():
            self.regions.pop(client_id)[1].close()
        for client_id, client in named.items():
            if client_id not in self.regions:
                with contextlib.suppress(FileNotFoundError, ShmlogError):
                    self.regions[client_id] = (
                        client.pid,
                        ClientRegion.open(names.client(tag, client_id), writable=False),
                    )

    def samples(self) -> list[PartitionSample]:
        """One sample per partition, ordered by topic and number."""
        return [self.sample(*place) for place in sorted(self.pages)]

    def sample(self, topic: str, partition: int) -> PartitionSample:
        """One partition now; KeyError if it is not observed."""
        page = self.pages[topic, partition]
        end = page.log_end_offset
        return PartitionSample(
            topic=topic,
            partition=partition,
            partition_id=page.header.number,
            pid=page.pid,
            state=page.state.name.lower(),
            leader_epoch=page.leader_epoch,
            log_start_offset=page.log_start_offset,
            high_watermark=page.high_watermark,
            log_end_offset=end,
            bytes=page.counters()["bytes"],
            ring_bytes=page.ring_bytes,
            lanes=len(page.lanes()),
            error=page.error_text,
            rewrites=page.counters()["rewrites"],
            at_ns=time.monotonic_ns(),
        )

    def positions(self) -> list[Position]:
        """Where the observed clients' consumers are."""
        return [
            Position(client_id, pid, partition_id, offset)
            for client_id, (pid, region) in sorted(self.regions.items())
            for partition_id, offset in region.positions()
        ]

    def close(self) -> None:
        for page in self.pages.values():
            page.close()
        for _, region in self.regions.values():
            region.close()
        self.pages.clear()
        self.regions.clear()


@dataclass(slots=True)
class Rates:
    """Records and bytes per second between the last two samples of each partition."""

    _before: dict[str, PartitionSample] = field(default_factory=dict)
    records: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)

    def update(self, samples: Sequence[PartitionSample]) -> None:
        """Take the next samples; partitions that were not there before have no rate yet."""
        for sample in samples:
            before = self._before.get(sample.name)
            if before is not None and sample.at_ns > before.at_ns:
                seconds = (sample.at_ns - before.at_ns) / 1e9
                self.records[sample.name] = max(0, sample.log_end_offset - before.log_end_offset) / seconds
                self.bytes[sample.name] = max(0, sample.bytes - before.bytes) / seconds
            self._before[sample.name] = sample
