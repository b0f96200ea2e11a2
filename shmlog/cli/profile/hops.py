"""The way of a record as times: what is recorded of it, and how long each hop took."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

STAGES = ("accepted", "taken", "published", "written", "visible", "read")
"""In the order in which they happen. accepted: send() began the batch with its first record; taken: the owner closed
the batch, checked it and put it into the ring, compressed where that is its task; published: all batches of its group
exist; written: it is in the file; visible: consumers may have it (after the sync, where flush.messages asks for one);
read: a consumer has it."""

HOPS = (*pairwise(STAGES), (STAGES[0], STAGES[-1]))
"""Each step, and the whole way."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch that its partition's owner followed: offset of its first record, and when that reached each stage.

    Times are nanoseconds of the monotonic clock. `accepted_ns` is what the producer says.
    """

    partition: str
    offset: int
    count: int
    bytes: int
    accepted_ns: int
    taken_ns: int
    published_ns: int
    written_ns: int
    visible_ns: int

    @property
    def times(self) -> tuple[int, ...]:
        return self.accepted_ns, self.taken_ns, self.published_ns, self.written_ns, self.visible_ns


@dataclass(frozen=True, slots=True)
class Reading:
    """A consumer got the records of `partition` from `first` up to, not including, `end`."""

    partition: str
    client: int
    first: int
    end: int
    read_ns: int


@dataclass(slots=True)
class Durations:
    """Nanoseconds of each hop, one for each sample; of hops to a reading one for each sample and client."""

    ns: dict[tuple[str, str], list[int]] = field(default_factory=lambda: {hop: [] for hop in HOPS})
    impossible: int = 0
    """Samples with times that cannot be: a producer or a consumer wrote nonsense. They are left out."""


def durations(samples: Iterable[Sample], readings: Iterable[Reading]) -> Durations:
    """How long each hop of `samples` took."""
    found = Durations()
    sane = []
    for sample in samples:
        if list(sample.times) != sorted(sample.times) or not sample.accepted_ns:
            found.impossible += 1
            continue
        sane.append(sample)
        for hop, begin, end in zip(HOPS, sample.times, sample.times[1:], strict=False):
            found.ns[hop].append(end - begin)
    for sample, reading in _matched(sane, readings):
        found.ns["visible", "read"].append(reading.read_ns - sample.visible_ns)
        found.ns["accepted", "read"].append(reading.read_ns - sample.accepted_ns)
    return found


def _matched(samples: Iterable[Sample], readings: Iterable[Reading]) -> Iterable[tuple[Sample, Reading]]:
    """Each sample with the first reading of each client that can be of it."""
    by_partition: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_partition[sample.partition].append(sample)
    offsets = {}
    for partition, found in by_partition.items():
        found.sort(key=lambda sample: sample.offset)
        offsets[partition] = [sample.offset for sample in found]
    done: set[tuple[str, int, int]] = set()
    for reading in sorted(readings, key=lambda reading: reading.read_ns):
        there = offsets.get(reading.partition, [])
        for place in range(bisect_left(there, reading.first), bisect_left(there, reading.end)):
            sample = by_partition[reading.partition][place]
            key = (reading.partition, reading.client, place)
            if key not in done and reading.read_ns >= sample.visible_ns:
                done.add(key)
                yield sample, reading
