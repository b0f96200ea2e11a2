"""What the log says of one group, and a draft of it: what it would be once a step's records are replayed.

    currents   member -> assigned    may read it
                      -> pending     was asked to give it up, and may still read it
    holders    partition -> the one member that has it in either of them

Nobody is given a partition that has a holder: that is the whole of "one reader for each partition", and it holds after
every step, so it holds whatever a failover of the coordinator takes away.
"""

from __future__ import annotations

from collections.abc import Iterator

from shmlog.machines.group.records import (
    NO_PARTITIONS,
    CurrentChanged,
    CurrentRemoved,
    GroupChanged,
    GroupRecord,
    GroupRemoved,
    MemberChanged,
    MemberRemoved,
    MemberState,
    OffsetCommitted,
    OffsetRemoved,
    Partitions,
    TargetChanged,
    TargetEpochChanged,
    TargetEpochRemoved,
    TargetRemoved,
    TopicIdPartition,
)

OffsetRecord = OffsetCommitted | OffsetRemoved
OffsetKey = tuple[str, int]
"""Name of a topic, and a partition."""


class Group:
    """Each kind of record has a place of its own, so the order of keys does not matter. Changed by replay alone."""

    __slots__ = ("currents", "epoch", "holders", "members", "name", "offsets", "target_epoch", "targets")

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch: int | None = None
        self.target_epoch: int | None = None
        self.members: dict[str, MemberChanged] = {}
        self.targets: dict[str, Partitions] = {}
        self.currents: dict[str, CurrentChanged] = {}
        self.holders: dict[TopicIdPartition, str] = {}
        self.offsets: dict[OffsetKey, OffsetCommitted] = {}

    def is_gone(self) -> bool:
        """No record of it is left."""
        known = self.members or self.targets or self.currents or self.offsets
        return not known and self.epoch is None and self.target_epoch is None

    def is_settled(self) -> bool:
        """Its target was computed for its epoch."""
        return (self.target_epoch or 0) >= (self.epoch or 0)

    def target(self, member_id: str) -> Partitions:
        return self.targets.get(member_id, NO_PARTITIONS)

    def current(self, member_id: str) -> CurrentChanged:
        """What a member has; of one that never had anything: nothing, in epoch 0."""
        found = self.currents.get(member_id)
        if found is None:
            return CurrentChanged(self.name, member_id, 0, 0, MemberState.STABLE, NO_PARTITIONS, NO_PARTITIONS)
        return found

    def of_instance(self, instance_id: str | None) -> str | None:
        """The id of the static member with that instance id."""
        if instance_id is None:
            return None
        return next((key for key, member in self.members.items() if member.instance_id == instance_id), None)

    def replay(self, record: GroupRecord) -> None:
        match record:
            case OffsetCommitted():
                self.offsets[record.topic, record.partition] = record
            case OffsetRemoved():
                self.offsets.pop((record.topic, record.partition), None)
            case GroupChanged():
                self.epoch = record.epoch
            case GroupRemoved():
                self.epoch = None
            case MemberChanged():
                self.members[record.member_id] = record
            case MemberRemoved():
                self.members.pop(record.member_id, None)
            case TargetEpochChanged():
                self.target_epoch = record.epoch
            case TargetEpochRemoved():
                self.target_epoch = None
            case TargetChanged():
                self.targets[record.member_id] = record.partitions
            case TargetRemoved():
                self.targets.pop(record.member_id, None)
            case CurrentChanged():
                self._hold(record.member_id, record)
            case CurrentRemoved():
                self._hold(record.member_id, None)

    def _hold(self, member_id: str, current: CurrentChanged | None) -> None:
        before = self.currents.pop(member_id, None)
        if before is not None:
            for partition in held(before):
                if self.holders.get(partition) == member_id:
                    del self.holders[partition]
        if current is not None:
            self.currents[member_id] = current
            self.holders.update(dict.fromkeys(held(current), member_id))


def held(current: CurrentChanged) -> Partitions:
    """All that a member may have."""
    return current.assigned | current.pending_revocation


class Draft(Group):
    """A group as the records that were put to it so far make it. It shares the offsets, and must not change them."""

    __slots__ = ("_records", "before")

    def __init__(self, before: Group) -> None:
        super().__init__(before.name)
        self.before, self.offsets = before, before.offsets
        self.epoch, self.target_epoch = before.epoch, before.target_epoch
        self.members, self.targets = dict(before.members), dict(before.targets)
        self.currents, self.holders = dict(before.currents), dict(before.holders)
        self._records: list[GroupRecord] = []

    def put(self, record: GroupRecord) -> None:
        assert not isinstance(record, OffsetRecord), "a draft has its offsets from the group"
        self.replay(record)
        self._records.append(record)

    def records(self) -> tuple[GroupRecord, ...]:
        """What was put; of what a member has, only how it is in the end."""
        last = self.currents
        return tuple(
            record
            for record in self._records
            if not isinstance(record, CurrentChanged) or last.get(record.member_id) is record
        )

    def moved(self) -> Iterator[CurrentChanged]:
        """What members have now whose `assigned` is another than before, in the order of their ids."""
        for member_id in sorted(self.currents):
            if self.currents[member_id].assigned != self.before.current(member_id).assigned:
                yield self.currents[member_id]

    def raise_epoch(self) -> int:
        """Of the group; returned."""
        epoch = (self.epoch or 0) + 1
        self.put(GroupChanged(self.name, epoch))
        return epoch

    def remove(self, member_id: str) -> None:
        """A member, and all that it had."""
        if member_id in self.currents:
            self.put(CurrentRemoved(self.name, member_id))
        if member_id in self.targets:
            self.put(TargetRemoved(self.name, member_id))
        self.put(MemberRemoved(self.name, member_id))
