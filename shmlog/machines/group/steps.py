"""From what has changed in a group to the whole step: targets, moves, and who has to hear of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shmlog.errors import MaxPollExceededError
from shmlog.machines.group.assigning import CUSTOM_PREFIX, assignor_of, compute
from shmlog.machines.group.assignor import Assignor
from shmlog.machines.group.custom import CustomAssignors
from shmlog.machines.group.liveness import MS, Life, Lives
from shmlog.machines.group.reconciliation import reconcile
from shmlog.machines.group.requests import Assign, Fence, GroupAction, GroupStep, Refused
from shmlog.machines.group.state import Draft, Group
from shmlog.machines.group.topics import Topics
from shmlog.machines.step import Step


class Steps:
    """What the requests of all groups share. `topics`: None until somebody has said which there are."""

    def __init__(self, assignors: Mapping[str, Assignor], lives: Lives, custom: CustomAssignors) -> None:
        self._assignors, self._lives, self._custom = assignors, lives, custom
        self.topics: Topics | None = None

    def retarget(self, draft: Draft) -> None:
        """The targets for the draft's epoch: at once, where the assignor is ours and the topics are known."""
        name = assignor_of(draft)
        if self.topics is not None and not name.startswith(CUSTOM_PREFIX):
            compute(draft, self.topics, self._assignors.get(name))

    def without(self, group: Group, members: Iterable[str], told: Iterable[GroupAction] = ()) -> GroupStep:
        """Members are gone, and others have their partitions."""
        draft = Draft(group)
        for member_id in members:
            draft.remove(member_id)
        draft.raise_epoch()
        self.retarget(draft)
        return self.of(draft, told)

    def of(self, draft: Draft, told: Iterable[GroupAction] = (), joining: str | None = None) -> GroupStep:
        """Everybody as near to the target as may be, and those who are connected hear of it; who is joining does so
        even if nothing has changed."""
        reconcile(draft, self._lives.away(draft.name))
        here = self._lives.connected(draft.name)
        news = {current.member_id for current in draft.moved()} | ({joining} if joining else set())
        actions = list(told)
        for member_id in sorted(news & here):
            current = draft.current(member_id)
            actions.append(Assign(draft.name, member_id, current.epoch, current.assigned))
        if self.topics is not None and not draft.is_settled():
            actions += self._custom.ask(draft, self.topics, here)
        return Step(draft.records(), actions=tuple(actions))

    def fence(self, group: str, member_id: str, error: type[Exception], message: str) -> list[GroupAction]:
        """Nothing for one that is not connected: it hears it when it comes."""
        life = self._lives.find(group, member_id)
        return [Fence(group, member_id, error.__name__, message)] if life is not None and life.is_connected else []

    def fence_stuck(self, group: str, member_id: str, life: Life, now_ns: int) -> list[GroupAction]:
        said = f"{member_id} of group {group!r} did not ask for records for {life.silent_ns(now_ns) // MS} ms, "
        said += (
            f"and its max.poll.interval.ms is {life.rebalance_timeout_ms}: others have its partitions now. Poll more "
        )
        said += "often, take fewer records at once (max.poll.records) or raise max.poll.interval.ms"
        return self.fence(group, member_id, MaxPollExceededError, said)


def refused(problem: Refused) -> GroupStep:
    return Step(replies=(problem,))


def together(steps: Iterable[GroupStep]) -> GroupStep:
    """Several steps as one: all records, then all actions."""
    taken = list(steps)
    return Step(
        records=tuple(record for step in taken for record in step.records),
        replies=tuple(reply for step in taken for reply in step.replies),
        actions=tuple(action for step in taken for action in step.actions),
    )
