"""Who is a member: joining, joining again, taking a static member's place."""

from __future__ import annotations

from collections.abc import Container

from shmlog.errors import (
    CoordinatorNotAvailableError,
    FencedInstanceIdError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidRegularExpressionError,
    InvalidRequestError,
    ShmlogError,
    UnknownMemberError,
)
from shmlog.limits import GROUP_NAME_CHARACTERS_MAX
from shmlog.machines.group.assigning import CUSTOM_PREFIX
from shmlog.machines.group.records import CurrentChanged, MemberChanged, TargetChanged
from shmlog.machines.group.requests import Join, Refused
from shmlog.machines.group.state import Draft, Group
from shmlog.machines.group.topics import Topics, pattern_error
from shmlog.record.kafka_fields import TEXT_BYTES_MAX
from shmlog.setting import INT_MAX


def refusal(error: type[ShmlogError], message: str) -> Refused:
    return Refused(error.__name__, message)


def bad_group_name(name: str) -> Refused | None:
    """Kafka takes any name but the empty one."""
    if not name:
        return refusal(InvalidGroupIdError, "the name of the group is empty: give group_id a name")
    if len(name) > GROUP_NAME_CHARACTERS_MAX:
        said = f"the name of the group has {len(name)} characters, and may have {GROUP_NAME_CHARACTERS_MAX}"
        return refusal(InvalidGroupIdError, f"{said}: give it a shorter one")
    return None


def topics_unknown(group: str) -> Refused:
    """A coordinator that has just started."""
    said = f"the coordinator of group {group!r} has just started and does not know the topics yet: ask again"
    return refusal(CoordinatorNotAvailableError, said)


def bad_join(group: Group, request: Join, assignors: Container[str]) -> Refused | None:
    """Why somebody cannot become a member, or go on as one."""
    return _bad_words(request, assignors) or _not_a_member(group, request) or _other_assignor(group, request)


def _bad_words(request: Join, assignors: Container[str]) -> Refused | None:
    bad_name = bad_group_name(request.group)
    if bad_name is not None:
        return bad_name
    if not request.member_id:
        return refusal(InvalidRequestError, f"a member of group {request.group!r} needs a member id of its own")
    texts = (request.member_id, request.instance_id, request.client_name, request.pattern, request.assignor)
    for text in (*texts, *request.topics):
        if text is not None and len(text.encode()) > TEXT_BYTES_MAX:
            said = f"what a member of group {request.group!r} says of itself has a text of {len(text.encode())} bytes"
            return refusal(InvalidRequestError, f"{said} ({text[:40]!r}...), and Kafka's records take {TEXT_BYTES_MAX}")
    if (request.pattern is None) == (not request.topics):
        said = f"member {request.member_id} of group {request.group!r} has to name either topics or a pattern of them"
        return refusal(InvalidRequestError, said)
    if request.pattern is not None and (problem := pattern_error(request.pattern)) is not None:
        said = f"the pattern {request.pattern!r} of topics is no regular expression: {problem}"
        return refusal(InvalidRegularExpressionError, said)
    if not all(0 < time_ms <= INT_MAX for time_ms in (request.rebalance_timeout_ms, request.session_timeout_ms)):
        said = f"max.poll.interval.ms and session.timeout.ms of group {request.group!r} have to be more than 0"
        return refusal(InvalidRequestError, f"{said}, and no more than {INT_MAX}")
    is_custom = request.assignor.startswith(CUSTOM_PREFIX) and request.assignor != CUSTOM_PREFIX
    if not is_custom and request.assignor not in assignors:
        said = f"there is no assignor {request.assignor!r}: choose another partition.assignment.strategy"
        return refusal(InvalidRequestError, said)
    return None


def pattern_too_slow(group: Group, request: Join, topics: Topics) -> Refused | None:
    """Who comes with such a pattern is told. Who is a member with it stays one: a topic has come that it is slow on."""
    known = group.members.get(request.member_id)
    slow = topics.too_slow(request.pattern)
    if not slow or (known is not None and known.pattern == request.pattern):
        return None
    said = (
        f"the pattern {request.pattern!r} takes too long on topic {slow[0]!r}: write it without repetitions of"
        " repetitions, such as (a+)+ or (.*,)*"
    )
    return refusal(InvalidRegularExpressionError, said)


def _not_a_member(group: Group, request: Join) -> Refused | None:
    """Who was one and is none any more, or says that it is another one than it is."""
    known = group.members.get(request.member_id)
    if known is not None:
        if known.instance_id == request.instance_id:
            return None
        said = f"member {request.member_id} of group {group.name!r} joined as instance {known.instance_id!r}"
        return refusal(InvalidRequestError, f"{said}, and cannot become {request.instance_id!r}: leave and join anew")
    if request.member_epoch == 0:
        return None
    successor = group.of_instance(request.instance_id)
    if successor is not None:
        return refusal(FencedInstanceIdError, fenced_by(group.name, request.instance_id, successor))
    said = f"member {request.member_id} is not in group {group.name!r} any more"
    return refusal(UnknownMemberError, f"{said}, and others have its partitions: join anew with another member id")


def fenced_by(group: str, instance_id: str | None, successor: str) -> str:
    """What the older of two static members is told."""
    said = f"{successor} has joined group {group!r} with the same group.instance.id, {instance_id!r}"
    return f"{said}: give each member one of its own"


def _other_assignor(group: Group, request: Join) -> Refused | None:
    own = {request.member_id, group.of_instance(request.instance_id)}
    for member_id, member in sorted(group.members.items()):
        if member_id not in own and member.assignor != request.assignor:
            said = f"the members of group {group.name!r} use the assignor {member.assignor!r}, "
            said += f"and {request.client_name} wants {request.assignor!r}"
            return refusal(InconsistentGroupProtocolError, f"{said}: all members have to use the same one")
    return None


def admit(draft: Draft, request: Join) -> bool:
    """Put what a member says of itself, and the place of the static member that it follows.

    Whether partitions have to be assigned anew: not for one that goes on, or follows another one, with the subscription
    that was; except where somebody computes an assignment for the one that it follows.
    """
    predecessor = draft.of_instance(request.instance_id)
    before = None if predecessor is None else draft.members[predecessor]
    if predecessor is not None and predecessor != request.member_id:
        _succeed(draft, predecessor, request.member_id)
    before = draft.members.get(request.member_id, before)
    said = MemberChanged(
        group=request.group,
        member_id=request.member_id,
        instance_id=request.instance_id,
        client_name=request.client_name,
        client_host=request.client_host,
        topics=tuple(sorted(set(request.topics))),
        pattern=request.pattern,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        assignor=request.assignor,
    )
    if draft.members.get(request.member_id) != said:
        draft.put(said)
    if before is None or (before.member_id != said.member_id and not draft.is_settled()):
        return True
    return (before.topics, before.pattern, before.assignor) != (said.topics, said.pattern, said.assignor)


def _succeed(draft: Draft, predecessor: str, successor: str) -> None:
    """The successor has what the predecessor had, and nobody else's partitions move."""
    target, current = draft.targets.get(predecessor), draft.currents.get(predecessor)
    draft.remove(predecessor)
    if target is not None:
        draft.put(TargetChanged(draft.name, successor, target))
    if current is not None:
        assigned, pending = current.assigned, current.pending_revocation
        epochs = current.epoch, current.previous_epoch
        draft.put(CurrentChanged(draft.name, successor, *epochs, current.state, assigned, pending))
