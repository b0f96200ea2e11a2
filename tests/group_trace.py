"""A coordinator of groups in a few lines, and all that it decides, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import dedent

from shmlog import errors
from shmlog.machines.group.assignor import Assignment, MemberSubscription
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import (
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
from shmlog.machines.group.requests import (
    Accepted,
    AskWhenPolled,
    Assign,
    AssignmentComputed,
    Commit,
    Compute,
    DeleteGroup,
    DeleteOffsets,
    Died,
    Fence,
    GroupAction,
    GroupReply,
    GroupStep,
    Join,
    Joined,
    Leave,
    OffsetToCommit,
    Owns,
    Polled,
    Refused,
    TopicFacts,
    TopicsAre,
)
from shmlog.model import TopicPartition

MS = 1_000_000
RETENTION_MS = 60_000
METADATA_BYTES_MAX = 16
WORDS = {
    MemberState.STABLE: "stable",
    MemberState.UNREVOKED_PARTITIONS: "gives up",
    MemberState.UNRELEASED_PARTITIONS: "waits",
}


def spread(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    """Neighbouring partitions to the same member, topic by topic: what Kafka calls range."""
    given: dict[str, set[TopicPartition]] = {member.member_id: set() for member in members}
    for topic, count in sorted(partitions.items()):
        wanting = [member.member_id for member in members if topic in member.topics]
        for index, member_id in enumerate(wanting):
            share = range(index * count // len(wanting), (index + 1) * count // len(wanting))
            given[member_id] |= {TopicPartition(topic, number) for number in share}
    return {member_id: frozenset(partitions) for member_id, partitions in given.items()}


def topic_id(name: str, version: int = 0) -> str:
    """Of 32 hex digits; the topic's name is in it."""
    return f"{name.encode().hex()}{version}".rjust(32, "0")


def parts(*numbers: int, topic: str = "t", version: int = 0) -> Partitions:
    return frozenset(TopicIdPartition(topic_id(topic, version), number) for number in numbers)


def text(partitions: Partitions) -> str:
    """t0-1 for partition 1 of t; t1-1 once t was deleted and made again."""
    names = (
        f"{bytes.fromhex(id_[:-1].lstrip('0').rjust(2, '0')).decode()}{'' if id_[-1] == '0' else id_[-1]}-{number}"
        for id_, number in sorted(partitions)
    )
    return " ".join(names) or "nothing"


class Coordinator:
    """What a shell does for the machine of one group, `g`: it replays what each step records, and notes everything."""

    def __init__(self, log: Sequence[GroupRecord] = ()) -> None:
        self.machine = Groups({"range": spread, "other": spread}, RETENTION_MS, METADATA_BYTES_MAX)
        self.log = list[GroupRecord]()
        self.lines = list[str]()
        self.now_ms = 0
        for record in log:
            self.machine.replay(record)
            self.log.append(record)

    def topics(self, **counts: int) -> GroupStep:
        return self.topics_are({name: TopicFacts(name, topic_id(name), count) for name, count in counts.items()})

    def topics_are(self, facts: Mapping[str, TopicFacts]) -> GroupStep:
        named = ", ".join(f"{each.name} {each.partitions}" for each in facts.values())
        return self.done(f"topics are {named}", self.machine.topics_are(TopicsAre(facts)))

    def join(
        self,
        member_id: str,
        *topics: str,
        epoch: int = 0,
        instance: str | None = None,
        pattern: str | None = None,
        assignor: str = "range",
        owned: Partitions = frozenset(),
        group: str = "g",
        poll_ms: int = 1_000,
    ) -> GroupStep:
        names = topics if topics or pattern is not None else ("t",)
        request = Join(
            group,
            member_id,
            epoch,
            instance,
            f"app {member_id}",
            "shmlog:1",
            names,
            pattern,
            assignor,
            poll_ms,
            500,
            owned,
        )
        said = f" as {instance}" if instance else ""
        said += f" again with {text(owned)}" if epoch else ""
        return self.done(f"{member_id} joins{said}", self.machine.join(request, self.now_ms * MS))

    def owns(self, member_id: str, *numbers: int) -> GroupStep:
        owned = parts(*numbers)
        return self.done(f"{member_id} owns {text(owned)}", self.machine.owns(Owns("g", member_id, owned)))

    def leave(self, member_id: str) -> GroupStep:
        return self.done(f"{member_id} leaves", self.machine.leave(Leave("g", member_id), self.now_ms * MS))

    def died(self, member_id: str) -> GroupStep:
        return self.done(f"{member_id} died", self.machine.died(Died("g", member_id), self.now_ms * MS))

    def polled(self, member_id: str, at_ms: int) -> GroupStep:
        request = Polled("g", member_id, at_ms * MS)
        return self.done(f"{member_id} polled at {at_ms}", self.machine.polled(request))

    def commit(
        self,
        member_id: str,
        offset: int,
        number: int = 0,
        topic: str = "t",
        metadata: str = "",
        group: str = "g",
        leader_epoch: int = 3,
        id_of_topic: str = "",
    ) -> GroupStep:
        offsets = (OffsetToCommit(topic, number, offset, leader_epoch, metadata, id_of_topic),)
        request = Commit(group, member_id, offsets, self.now_ms)
        return self.done(f"{member_id or 'nobody'} commits {topic}-{number} {offset}", self.machine.commit(request))

    def computed(self, member_id: str, epoch: int, error: str = "", **given: Sequence[int]) -> GroupStep:
        assignment = {key: frozenset(TopicPartition("t", each) for each in given[key]) for key in given}
        request = AssignmentComputed("g", member_id, epoch, assignment, error)
        said = error or " ".join(f"{key}:{','.join(map(str, given[key]))}" for key in given)
        step = self.machine.assignment_computed(request, self.now_ms * MS)
        return self.done(f"{member_id} computed {said} for {epoch}", step)

    def delete_group(self, group: str = "g") -> GroupStep:
        return self.done(f"delete {group}", self.machine.delete_group(DeleteGroup(group)))

    def delete_offsets(self, *numbers: int, topic: str = "t", group: str = "g") -> GroupStep:
        partitions = tuple(TopicPartition(topic, number) for number in numbers)
        return self.done("delete offsets", self.machine.delete_offsets(DeleteOffsets(group, partitions)))

    def tick(self, at_ms: int) -> GroupStep:
        self.now_ms = at_ms
        return self.done("tick", self.machine.tick(at_ms * MS, at_ms))

    def done(self, what: str, step: GroupStep) -> GroupStep:
        for record in step.records:
            self.machine.replay(record)
            self.log.append(record)
        self.lines.append(f"{self.now_ms:<5} {what} [{self.state()}]")
        self.lines += [f"      | {said(record)}" for record in step.records]
        self.lines += [f"      < {answered(reply)}" for reply in step.replies]
        self.lines += [f"      > {told_of(action)}" for action in step.actions]
        return step

    def state(self) -> str:
        found = self.machine.group("g")
        return "no group" if found is None else f"{found.state} {found.epoch}"

    def trace(self) -> str:
        """What happened since it was asked last."""
        lines, self.lines = self.lines, []
        return "\n".join(lines)


def said(record: GroupRecord) -> str:
    match record:
        case OffsetCommitted():
            return f"offset of {record.topic}-{record.partition} {record.offset} (epoch {record.leader_epoch})"
        case OffsetRemoved():
            return f"no offset of {record.topic}-{record.partition}"
        case GroupChanged():
            return f"group epoch {record.epoch}"
        case GroupRemoved():
            return "no group"
        case MemberChanged():
            instance = f" as {record.instance_id}" if record.instance_id else ""
            return f"member {record.member_id}{instance}: {record.pattern or ' '.join(record.topics)}"
        case MemberRemoved():
            return f"no member {record.member_id}"
        case TargetEpochChanged():
            return f"targets of epoch {record.epoch}"
        case TargetEpochRemoved():
            return "no targets"
        case TargetChanged():
            return f"{record.member_id} is to have {text(record.partitions)}"
        case TargetRemoved():
            return f"{record.member_id} is to have none"
        case CurrentChanged():
            pending = f", gives up {text(record.pending_revocation)}" if record.pending_revocation else ""
            where = f"{WORDS[record.state]} in {record.epoch}"
            return f"{record.member_id} has {text(record.assigned)}{pending} ({where})"
        case CurrentRemoved():
            return f"{record.member_id} has none"


def answered(reply: GroupReply) -> str:
    match reply:
        case Joined():
            missing = f", waits for topics {' '.join(reply.missing)}" if reply.missing else ""
            return f"{reply.member_id} joined in {reply.member_epoch}{missing}"
        case Accepted():
            return "done"
        case Refused():
            return reply.error


def told_of(action: GroupAction) -> str:
    match action:
        case Assign():
            return f"{action.member_id}: {text(action.assigned)}"
        case Fence():
            return f"{action.member_id}: {action.error}"
        case Compute():
            wants = ", ".join(f"{each.member_id} has {len(each.owned)}" for each in action.members)
            return f"{action.member_id}: compute epoch {action.epoch} of {dict(action.partitions)} ({wants})"
        case AskWhenPolled():
            return f"when did {action.member_id} poll?"


def told(expected: str) -> str:
    return dedent(expected).strip("\n")


def refusal(step: GroupStep) -> str:
    """`Error: message` of a step that has nothing else."""
    assert (step.records, step.actions) == ((), ())
    [reply] = step.replies
    assert isinstance(reply, Refused)
    assert errors.by_class_name(reply.error) is not errors.ShmlogError, "errors that cross processes are named"
    return f"{reply.error}: {reply.message}"
