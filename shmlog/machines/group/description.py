"""A group as somebody who looks at it sees it."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.machines.group.assigning import assignor_of
from shmlog.machines.group.liveness import Lives
from shmlog.machines.group.records import CurrentChanged, MemberChanged, MemberState, Partitions
from shmlog.machines.group.state import Group


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """`polled_ns`: when it asked for records last, as far as the coordinator was told; None if it is not connected."""

    said: MemberChanged
    current: CurrentChanged
    target: Partitions
    polled_ns: int | None


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """`state`: Empty, Assigning, Reconciling or Stable. `error`: why its members' own assignor gave no assignment for
    `epoch`, so that they go on with the one before."""

    name: str
    state: str
    epoch: int
    assignor: str
    members: tuple[MemberDescription, ...]
    error: str


def describe(group: Group, lives: Lives, error: str) -> GroupDescription:
    members = []
    for member_id, said in sorted(group.members.items()):
        life = lives.find(group.name, member_id)
        polled_ns = life.polled_ns if life is not None and life.is_connected else None
        members.append(MemberDescription(said, group.current(member_id), group.target(member_id), polled_ns))
    return GroupDescription(group.name, state_word(group), group.epoch or 0, assignor_of(group), tuple(members), error)


def state_word(group: Group) -> str:
    """Kafka's words."""
    if not group.members:
        return "Empty"
    if not group.is_settled():
        return "Assigning"
    currents = (group.current(member_id) for member_id in group.members)
    if all(current.state is MemberState.STABLE and current.epoch == group.target_epoch for current in currents):
        return "Stable"
    return "Reconciling"
