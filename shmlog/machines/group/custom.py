"""Assignors that only members have: one member is asked to compute the target of an epoch."""

from __future__ import annotations

from collections.abc import Collection

from shmlog.machines.group.assigning import assignor_of, invalid, partition_counts, subscriptions
from shmlog.machines.group.requests import AssignmentComputed, Compute
from shmlog.machines.group.state import Draft, Group
from shmlog.machines.group.topics import Topics


class CustomAssignors:
    """Who was asked, and what went wrong. Not in the log: the next coordinator asks again."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[str, int]] = {}
        self._failed: dict[str, tuple[int, str]] = {}

    def ask(self, draft: Draft, topics: Topics, here: Collection[str]) -> list[Compute]:
        """For the target of the draft's epoch, which it does not have. One member is asked, once; another one when that
        one is not among those who are `here` any more. After a failure nobody is asked again in the same epoch."""
        epoch = draft.epoch or 0
        able = sorted(member_id for member_id in draft.members if member_id in here)
        if not able or self._failed.get(draft.name, (0, ""))[0] == epoch:
            return []
        member_id, of_epoch = self._asked.get(draft.name, ("", 0))
        if of_epoch == epoch and member_id in able:
            return []
        chosen = member_id if member_id in able else able[0]
        self._asked[draft.name] = chosen, epoch
        return [Compute(draft.name, chosen, epoch, subscriptions(draft, topics), partition_counts(draft, topics))]

    def take(self, group: Group, topics: Topics, request: AssignmentComputed) -> bool:
        """Whether this is what was asked for, and can be the target."""
        if self._asked.get(group.name) != (request.member_id, request.epoch) or request.epoch != group.epoch:
            return False
        del self._asked[group.name]
        members, counts = subscriptions(group, topics), partition_counts(group, topics)
        problem = request.error or invalid(request.assignment, members, counts)
        if problem:
            self._failed[group.name] = request.epoch, f"{assignor_of(group)}: {problem}"
        return not problem

    def error(self, group: Group) -> str:
        """Why there is no target for the group's epoch; "" where nothing went wrong."""
        epoch, error = self._failed.get(group.name, (0, ""))
        return error if epoch == group.epoch else ""

    def forget(self, group: str) -> None:
        self._asked.pop(group, None)
        self._failed.pop(group, None)
