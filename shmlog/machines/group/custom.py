"""Assignors that only members have: one member is asked to compute the target of an epoch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shmlog.machines.group.assigning import assignor_of, invalid, partition_counts, subscriptions
from shmlog.machines.group.liveness import MS
from shmlog.machines.group.requests import AssignmentComputed, Compute
from shmlog.machines.group.state import Draft, Group
from shmlog.machines.group.topics import Topics

AGAIN_NS = 5_000 * MS
"""After the last failure, when everybody has failed."""


@dataclass(slots=True)
class _Failure:
    """Of an epoch: the last error, who has failed, and when these are asked again."""

    epoch: int
    error: str
    members: frozenset[str]
    again_ns: int


class CustomAssignors:
    """Who was asked, and what went wrong. Not in the log: the next coordinator asks again."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[str, int]] = {}
        self._failed: dict[str, _Failure] = {}

    def ask(self, draft: Draft, topics: Topics, here: Collection[str]) -> list[Compute]:
        """For the target of the draft's epoch, which it does not have. One member is asked, once; another one when that
        one has failed, or is not among those who are `here` any more. Nobody is, when all have failed."""
        epoch = draft.epoch or 0
        failure = self._failed.get(draft.name)
        failed = failure.members if failure is not None and failure.epoch == epoch else frozenset()
        able = sorted(member_id for member_id in draft.members if member_id in here and member_id not in failed)
        if not able:
            return []
        member_id, of_epoch = self._asked.get(draft.name, ("", 0))
        if of_epoch == epoch and member_id in able:
            return []
        chosen = member_id if member_id in able else able[0]
        self._asked[draft.name] = chosen, epoch
        return [Compute(draft.name, chosen, epoch, subscriptions(draft, topics), partition_counts(draft, topics))]

    def take(self, group: Group, topics: Topics, request: AssignmentComputed, now_ns: int) -> bool:
        """Whether this is what was asked for, and can be the target."""
        if self._asked.get(group.name) != (request.member_id, request.epoch) or request.epoch != group.epoch:
            return False
        del self._asked[group.name]
        members, counts = subscriptions(group, topics), partition_counts(group, topics)
        problem = request.error or invalid(request.assignment, members, counts)
        before = self._failed.pop(group.name, None)
        if problem:
            failed = before.members if before is not None and before.epoch == request.epoch else frozenset()
            said = f"{assignor_of(group)}: {problem}"
            self._failed[group.name] = _Failure(request.epoch, said, failed | {request.member_id}, now_ns + AGAIN_NS)
        return not problem

    def next_deadline_ns(self) -> int | None:
        """When due() has something; None: time changes nothing."""
        return min((failure.again_ns for failure in self._failed.values() if failure.members), default=None)

    def due(self, now_ns: int) -> list[str]:
        """The groups whose members may be asked again, after they have failed."""
        names = [name for name, failure in self._failed.items() if failure.members and failure.again_ns <= now_ns]
        for name in names:
            self._failed[name].members = frozenset()
        return sorted(names)

    def error(self, group: Group) -> str:
        """Why there is no target for the group's epoch; "" where nothing went wrong."""
        failure = self._failed.get(group.name)
        return failure.error if failure is not None and failure.epoch == group.epoch else ""

    def forget(self, group: str) -> None:
        self._asked.pop(group, None)
        self._failed.pop(group, None)
