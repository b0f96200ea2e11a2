"""Whether an owner hosts a coordinator of consumer groups, and what all others have in its place."""

from __future__ import annotations

from typing import Protocol

from shmlog.control.messages import OwnerSpec, TopicsAre
from shmlog.partition.opened import OpenPartition

NEVER_NS = 2**63 - 1


class Coordinating(Protocol):
    """What an owner does for a coordinator."""

    @property
    def is_here(self) -> bool:
        """There is one: the owner sleeps where descriptors can wake it."""

    @property
    def has_news(self) -> bool:
        """look() has something to do."""

    def look(self, now_ns: int) -> int: ...
    def next_deadline_ns(self) -> int: ...
    def topics_are(self, message: TopicsAre) -> None: ...

    @property
    def is_drained(self) -> bool:
        """Whether all that it appended is published."""

    def close(self) -> None: ...


class NoCoordinator:
    """Of all partitions but those of __consumer_offsets."""

    is_here = False
    is_drained = True
    has_news = False

    def look(self, now_ns: int) -> int:
        return 0

    def next_deadline_ns(self) -> int:
        return NEVER_NS

    def topics_are(self, message: TopicsAre) -> None:
        raise AssertionError("only coordinators are told of topics")

    def close(self) -> None:
        pass


def import_coordinator() -> None:
    """For who forks owners: each of them would take 40 ms for it while members wait for a successor."""
    from shmlog.partition import coordinator

    del coordinator


def coordinator_of(spec: OwnerSpec, opened: OpenPartition) -> Coordinating:
    """The partition is open and does not run yet. Raises what reading its log raises."""
    if spec.groups is None:
        return NoCoordinator()
    from shmlog.partition.coordinator import Coordinator

    return Coordinator(spec, opened)
