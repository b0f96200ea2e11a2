"""Committed offsets: who may commit what, and when they go."""

from __future__ import annotations

from collections.abc import Iterable

from shmlog.errors import (
    CommitFailedError,
    GroupSubscribedToTopicError,
    InvalidRequestError,
    NonEmptyGroupError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    UnknownGroupError,
    UnknownMemberError,
    UnknownTopicOrPartitionError,
)
from shmlog.machines.group.assigning import holder_named
from shmlog.machines.group.membership import bad_group_name, refusal
from shmlog.machines.group.records import (
    GroupRecord,
    GroupRemoved,
    OffsetCommitted,
    OffsetRemoved,
    TargetEpochRemoved,
)
from shmlog.machines.group.requests import Commit, DeleteOffsets, OffsetToCommit, Refused
from shmlog.machines.group.state import Group, OffsetKey, held
from shmlog.machines.group.topics import Topics
from shmlog.setting import INT_MAX, LONG_MAX


def bad_commit(group: Group, request: Commit, topics: Topics, metadata_bytes_max: int) -> Refused | None:
    """Why nothing of a commit is done."""
    problem = bad_group_name(request.group)
    if problem is not None:
        return problem
    if request.member_id and request.member_id not in group.members:
        said = f"{request.member_id} is not, or not any more, a member of group {group.name!r}: nothing was committed"
        return refusal(UnknownMemberError, said)
    if not request.member_id and group.members:
        said = f"group {group.name!r} has {members_of(group)}, and only members commit its offsets: stop them first"
        return refusal(NonEmptyGroupError, said)
    for offset in request.offsets:
        problem = _bad_offset(group, request.member_id, offset, topics, metadata_bytes_max)
        if problem is not None:
            return problem
    return None


def _bad_offset(
    group: Group, member_id: str, offset: OffsetToCommit, topics: Topics, metadata_bytes_max: int
) -> Refused | None:
    where = f"{offset.topic}-{offset.partition}"
    partition = topics.partition(offset.topic, offset.partition)
    if partition is None:
        return refusal(UnknownTopicOrPartitionError, f"there is no {where}: nothing was committed")
    if offset.topic_id not in ("", partition.topic_id):
        said = f"the {where} that was read is gone, and another topic has the name now: nothing was committed"
        return refusal(UnknownTopicOrPartitionError, said)
    if member_id and partition not in held(group.current(member_id)):
        said = f"{where} is not {member_id}'s in group {group.name!r}, {holder_named(group, partition)}"
        return refusal(CommitFailedError, f"{said}: nothing was committed")
    if not 0 <= offset.offset <= LONG_MAX:
        said = f"offset {offset.offset} of {where} is {'negative' if offset.offset < 0 else 'larger than any'}"
        return refusal(OffsetOutOfRangeError, f"{said}: nothing was committed")
    if not -1 <= offset.leader_epoch <= INT_MAX:
        said = f"the leader epoch of the offset of {where} is {offset.leader_epoch}, and may be from -1 to {INT_MAX}"
        return refusal(InvalidRequestError, f"{said}: nothing was committed")
    size_bytes = len(offset.metadata.encode(errors="surrogatepass"))
    if size_bytes > metadata_bytes_max:
        said = f"the metadata of the offset of {where} has {size_bytes} bytes, and offset.metadata.max.bytes "
        return refusal(OffsetMetadataTooLargeError, f"{said}is {metadata_bytes_max}: nothing was committed")
    return None


def committed(request: Commit, topics: Topics) -> tuple[OffsetCommitted, ...]:
    """The records of a commit that is not bad."""
    return tuple(
        OffsetCommitted(
            group=request.group,
            topic=offset.topic,
            partition=offset.partition,
            offset=offset.offset,
            leader_epoch=offset.leader_epoch,
            metadata=offset.metadata,
            commit_ms=request.now_ms,
            topic_id=topics.facts[offset.topic].topic_id,
        )
        for offset in request.offsets
    )


def bad_delete_group(group: Group) -> Refused | None:
    if group.members:
        said = f"group {group.name!r} has {members_of(group)}: stop them first"
        return refusal(NonEmptyGroupError, f"{said}, or wait until they have left")
    return None


def members_of(group: Group) -> str:
    """How many, in words."""
    return "1 member" if len(group.members) == 1 else f"{len(group.members)} members"


def bad_delete_offsets(group: Group, request: DeleteOffsets, topics: Topics) -> Refused | None:
    asked = {partition.topic for partition in request.partitions}
    for member_id, member in sorted(group.members.items()):
        both = asked & ({*member.topics} | topics.wanted(member.topics, member.pattern))
        if both:
            said = f"{member_id} ({member.client_name}) of group {group.name!r} is subscribed to {min(both)}"
            return refusal(GroupSubscribedToTopicError, f"{said}: its offsets stay while it is")
    return None


def unknown_group(name: str) -> Refused:
    return refusal(UnknownGroupError, f"there is no group {name!r}: `shmlog group list` says which there are")


def removed(group: Group, keys: Iterable[OffsetKey]) -> list[GroupRecord]:
    """Those of `keys` that have an offset."""
    return [OffsetRemoved(group.name, *key) for key in sorted(keys) if key in group.offsets]


def group_removed(group: Group) -> list[GroupRecord]:
    """A group without members, with all that is left of it."""
    assert not group.members, "a group with members stays"
    records = removed(group, group.offsets)
    if group.target_epoch is not None:
        records.append(TargetEpochRemoved(group.name))
    if group.epoch is not None:
        records.append(GroupRemoved(group.name))
    return records


def of_missing_topics(group: Group, topics: Topics) -> list[GroupRecord]:
    """Offsets of topics that are gone, also where another one has the name now."""
    missing = {topic for topic in {topic for topic, _ in group.offsets} if topic not in topics.facts}
    gone = (
        key
        for key, offset in group.offsets.items()
        if key[0] in missing or (offset.topic_id and offset.topic_id != topics.facts[key[0]].topic_id)
    )
    return removed(group, gone)


def expired(group: Group, retention_ms: int, now_ms: int) -> list[GroupRecord]:
    """What goes of a group without members: offsets that nobody has committed again for so long, and, with the last of
    them, the group."""
    old = [key for key, offset in group.offsets.items() if offset.commit_ms + retention_ms <= now_ms]
    return group_removed(group) if len(old) == len(group.offsets) else removed(group, old)
