"""`shmlog profile record`: asks owners to follow records, and carries their samples from shared memory into a file.

The file has a line of JSON for each sample and each reading, as they come, so whatever is there after a kill is whole.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

import orjson

from shmlog.cli.counters import Observer
from shmlog.cli.profile.hops import Reading, Sample
from shmlog.clock import wall_ms
from shmlog.errors import ShmlogError
from shmlog.memory import layout
from shmlog.native.trace import SampleReader

if TYPE_CHECKING:
    from shmlog import Cluster, ClusterInfo, TopicInfo

FORMAT = "shmlog profile 1"
LEASE_MS = 5000
RENEW_S = 1.0
POLL_S = 0.01
LAST_READINGS_S = 0.3
"""After the end: so long consumers may take for what was followed last."""
INTERVAL_US = 1000
PARTITIONS_AT_FULL_RATE = 4
"""Of more partitions, each is sampled less often, so that the recorder keeps up."""


@dataclass(slots=True)
class Summary:
    """What was recorded. `lost` samples and readings were overwritten before they were fetched."""

    samples: int = 0
    readings: int = 0
    lost: int = 0
    partitions: int = 0
    trouble: str = ""
    """Why, for a while, nobody was asked to follow records."""


class Lease:
    """Asks again and again, in a thread, so that a supervisor that does not answer holds nobody up."""

    def __init__(self, cluster: Cluster, topics: Sequence[str]) -> None:
        self.trouble = ""
        self._cluster = cluster
        self._topics = list(topics) or None
        self._over = threading.Event()
        self._news: tuple[ClusterInfo, list[TopicInfo]] | None = None
        self._ask()  # here, so that a wrong topic is the caller's error
        self._thread = threading.Thread(target=self._renew, name="shmlog-profile", daemon=True)
        self._thread.start()

    def news(self) -> tuple[ClusterInfo, list[TopicInfo]] | None:
        """Cluster and topics as they were just now; None when there is nothing newer than the last time."""
        news, self._news = self._news, None
        return news

    def end(self) -> None:
        """Have the owners stop at once. Without a supervisor they do by themselves."""
        self._over.set()
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            with contextlib.suppress(ShmlogError):
                self._cluster.admin.trace(self._topics, lease_ms=1)

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            try:
                self._ask()
            except ShmlogError as error:
                self.trouble = str(error)

    def _ask(self) -> None:
        topics = self._cluster.admin.describe_topics(self._topics)
        partitions = sum(len(topic.partitions) for topic in topics)
        interval_us = INTERVAL_US * max(1, partitions // PARTITIONS_AT_FULL_RATE)
        self._cluster.admin.trace(self._topics, interval_us=interval_us, lease_ms=LEASE_MS)
        self._news = (self._cluster.describe(), topics)


class Recorder:
    """Fetches samples from the regions of one cluster and writes them to `file`."""

    def __init__(self, cluster: Cluster, topics: Sequence[str], file: BinaryIO) -> None:
        self.summary = Summary()
        self._file = file
        self._cluster = cluster
        self._observer = Observer()
        self._names: dict[int, str] = {}
        self._samples: dict[tuple[str, int], SampleReader] = {}
        self._readings: dict[int, SampleReader] = {}
        self._lease = Lease(cluster, topics)

    def record(self, seconds: float) -> None:
        """For so long, or until Ctrl-C."""
        self._write({"format": FORMAT, "cluster": self._cluster.name, "started_ms": wall_ms()})
        began = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            self._poll_until(began + seconds)
        ended = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            self._lease.end()
            self._poll_until(time.monotonic() + LAST_READINGS_S)
        self.summary.trouble = self._lease.trouble
        self._write({"seconds": round(ended - began, 3), "lost": self.summary.lost, "trouble": self._lease.trouble})

    def close(self) -> None:
        self._observer.close()

    def _poll_until(self, deadline: float) -> None:
        while True:
            news = self._lease.news()
            if news is not None:
                self._look_around(*news)
            self._fetch()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(POLL_S, left_s))

    def _look_around(self, cluster: ClusterInfo, topics: list[TopicInfo]) -> None:
        """Map what is new. What is gone is read to its end first."""
        self._fetch()
        self._observer.refresh(cluster, topics)
        self._names = {p.partition_id: f"{topic.name}-{p.partition}" for topic in topics for p in topic.partitions}
        self.summary.partitions = max(self.summary.partitions, len(self._observer.pages))
        self._samples = {
            place: self._samples.get(place) or SampleReader(page.mapping, layout.CTL_TRACE)
            for place, page in self._observer.pages.items()
        }
        self._readings = {
            client: self._readings.get(client) or SampleReader(region.mapping, layout.CLIENT_TRACE)
            for client, (_, region) in self._observer.regions.items()
        }

    def _fetch(self) -> None:
        for (topic, number), samples in self._samples.items():
            lost = samples.lost
            for offset, *times, size in samples.take():
                self._write(asdict(Sample(f"{topic}-{number}", offset, size >> 32, size & 0xFFFFFFFF, *times)))
                self.summary.samples += 1
            self.summary.lost += samples.lost - lost
        for client, readings in self._readings.items():
            lost = readings.lost
            for partition_id, first, end, read_ns, *_ in readings.take():
                if partition_id in self._names:
                    self._write(asdict(Reading(self._names[partition_id], client, first, end, read_ns)))
                    self.summary.readings += 1
            self.summary.lost += readings.lost - lost
        self._file.flush()  # what a kill leaves is what was fetched

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
