"""Going through the sealed segments of all replicas, at a bounded rate; and what becomes of what is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from shmlog.cli.scrub.places import Places, ReplicaPlace
from shmlog.errors import StorageError
from shmlog.log.mending import require_sealed
from shmlog.log.scrub import Flaw, SealedSegment, index_flaws, log_flaws, sealed_segments
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets
from shmlog.log.storage import OsStorage, Storage

KEPT_NOTHING = "it was written, and the disk does not have it"
LATE_S_MAX = 0.1
"""What was not read for so long may be read without a pause."""


class Pace:
    """Lets about so many bytes through in a second."""

    def __init__(
        self,
        bytes_per_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._now = now
        self._sleep = sleep
        self._due = now()

    def __call__(self, size_bytes: int) -> None:
        """Wait until it is the turn of so many bytes."""
        now = self._now()
        self._due = max(self._due, now - LATE_S_MAX)
        if self._due > now:
            self._sleep(self._due - now)
        self._due += size_bytes / self._bytes_per_s


class Mender(Protocol):
    """Somebody who may write."""

    def mend(self, flaw: Flaw, place: ReplicaPlace, others: list[ReplicaPlace]) -> str:
        """Mend what can be mended of a flaw. Returns "" when something was, else why nothing could be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A flaw of a replica. `is_repaired`: it was; `note`: why not, if somebody tried."""

    place: ReplicaPlace
    flaw: Flaw
    is_repaired: bool = False
    note: str = ""


@dataclass(slots=True)
class Summary:
    """What was looked at, and what was found."""

    replicas: int = 0
    segments: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(one.is_repaired for one in self.findings)


class Course:
    """All sealed segments of these replicas, as they are now."""

    def __init__(self, places: Places, pace: Callable[[int], None], mender: Mender | None) -> None:
        self._mender = mender
        self._pace = pace
        self._storage: Storage = OsStorage()
        self._places = places
        self._segments = [
            (place, segment)
            for replicas in places.values()
            for place in replicas
            for segment in _listed(self._storage, place.directory)
        ]
        self.summary = Summary(replicas=sum(map(len, places.values())))

    def size_bytes(self) -> int:
        """How much there is to read."""
        return sum(_size_of(self._storage, segment) for _, segment in self._segments)

    def run(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Look at one after the other; `progress` is told of bytes as they are read."""
        for place, segment in self._segments:
            size_bytes = _size_of(self._storage, segment)
            self.summary.findings += self._look_at(place, segment)
            self.summary.segments += 1
            self.summary.size_bytes += size_bytes
            progress(size_bytes)

    def _look_at(self, place: ReplicaPlace, segment: SealedSegment) -> Iterator[Finding]:
        """Flaws that were mended, once each, and then those that stay."""
        found = self._flaws(segment)
        if self._mender is None:
            yield from (Finding(place, flaw) for flaw in found)
            return
        mended: set[Flaw] = set()
        while True:
            again = {flaw: KEPT_NOTHING for flaw in found if flaw in mended}
            notes = {flaw: again.get(flaw) or self._mend(self._mender, flaw, place) for flaw in found}
            fresh = [flaw for flaw, note in notes.items() if not note]
            if not fresh:
                yield from (Finding(place, flaw, note=note) for flaw, note in notes.items())
                return
            yield from (Finding(place, flaw, is_repaired=True) for flaw in fresh)
            mended.update(fresh)
            found = self._flaws(segment)  # what the disk has now, and what was hidden behind them

    def _mend(self, mender: Mender, flaw: Flaw, place: ReplicaPlace) -> str:
        others = [one for one in self._places[place.partition] if one != place and one.topic_id == place.topic_id]
        return mender.mend(flaw, place, others)

    def _flaws(self, segment: SealedSegment) -> list[Flaw]:
        """Without those of a segment that has gone or changed its place in the log meanwhile."""
        try:
            found = list(log_flaws(self._storage, segment, self._pace)) or list(index_flaws(self._storage, segment))
            if found:
                require_sealed(self._storage, segment)
        except (FileNotFoundError, StorageError):
            return []
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
            return [Flaw(segment, LOG_SUFFIX, 0, segment.base_offset, segment.following, problem)]
        return found


def _listed(storage: Storage, directory: str) -> list[SealedSegment]:
    try:
        return sealed_segments(directory, list_base_offsets(storage, directory))
    except FileNotFoundError:  # a topic that is going, or a disk that is not there: the supervisor says so
        return []


def _size_of(storage: Storage, segment: SealedSegment) -> int:
    try:
        fd = storage.open(segment.path(), 0)
    except FileNotFoundError:
        return 0
    try:
        return storage.size_bytes(fd)
    finally:
        storage.close(fd)
