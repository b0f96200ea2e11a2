"""All consumer groups of one coordinator: who is a member, who reads which partition, and what they have committed.

    request --> step: records, replies, actions --> its caller appends and replays the records --> the state

Requests return what is to be recorded and change nothing that the log must remember; only replay() does. What a restart
forgets is who is connected, when each member polled last, since when a static member is without a process (each gets
its whole time again), which member was asked to compute an assignment (one is asked again), and when a group was last
in use. The topics that exist come from outside (topics_are); until they have, nobody joins and nothing is committed.

What a member has stored in its commit cells has to be committed before the request that takes partitions from it:
before owns(), leave() and died(), before polled() that follows AskWhenPolled, and before a join() whose instance id is
static_member()'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shmlog.errors import FencedInstanceIdError, UnknownMemberError
from shmlog.machines.group.assigning import is_target_of, put_targets, wanted_topics
from shmlog.machines.group.assignor import Assignor
from shmlog.machines.group.custom import CustomAssignors
from shmlog.machines.group.description import GroupDescription, describe
from shmlog.machines.group.expiry import Expiry
from shmlog.machines.group.liveness import MS, Life, Lives, Verdict
from shmlog.machines.group.membership import admit, bad_join, fenced_by, pattern_too_slow, refusal, topics_unknown
from shmlog.machines.group.offsets import (
    bad_commit,
    bad_delete_group,
    bad_delete_offsets,
    committed,
    group_removed,
    of_missing_topics,
    removed,
    unknown_group,
)
from shmlog.machines.group.reconciliation import forget_missing, release
from shmlog.machines.group.records import (
    NO_PARTITIONS,
    GroupRecord,
    MemberChanged,
    MemberRemoved,
    OffsetCommitted,
    Partitions,
)
from shmlog.machines.group.requests import (
    Accepted,
    AskWhenPolled,
    AssignmentComputed,
    Commit,
    DeleteGroup,
    DeleteOffsets,
    Died,
    GroupAction,
    GroupStep,
    Join,
    Joined,
    Leave,
    Owns,
    Polled,
    Refused,
    TopicsAre,
)
from shmlog.machines.group.state import Draft, Group, held
from shmlog.machines.group.steps import Steps, refused, together
from shmlog.machines.group.topics import Matcher, Topics, match_all
from shmlog.machines.step import Step


class Groups:
    """The machine. `assignors`: by the names that members choose from; beside them are `custom:` ones, which only
    members have. `matcher` tells which topics a pattern matches. now_ns is of one monotonic clock, now_ms of the wall
    clock."""

    def __init__(
        self,
        assignors: Mapping[str, Assignor],
        offsets_retention_ms: int,
        metadata_bytes_max: int,
        matcher: Matcher = match_all,
    ) -> None:
        self._assignors = assignors
        self._matcher = matcher
        self._metadata_bytes_max = metadata_bytes_max
        self._groups: dict[str, Group] = {}
        self._lives, self._custom = Lives(), CustomAssignors()
        self._steps = Steps(assignors, self._lives, self._custom)
        self._expiry = Expiry(offsets_retention_ms)

    # --- members ------------------------------------------------------------------------------------------------------

    def join(self, request: Join, now_ns: int) -> GroupStep:
        """Answered with Joined, and with the member's first Assign. `owned` is no less than it may have by now: of one
        that stayed connected, with the assignments that it has not acknowledged, as in Owns."""
        group, topics = self._group(request.group), self._steps.topics
        problem = self.why_not(request)
        if problem is not None:
            return refused(problem)
        if topics is None:
            return refused(topics_unknown(request.group))
        problem = pattern_too_slow(group, request, topics)
        if problem is not None:
            return refused(problem)
        draft, told = Draft(group), list[GroupAction]()
        predecessor = group.of_instance(request.instance_id)
        if predecessor is not None and predecessor != request.member_id:
            why = fenced_by(group.name, request.instance_id, request.member_id)
            told += self._steps.fence(group.name, predecessor, FencedInstanceIdError, why)
        self._lives.add(
            group.name,
            request.member_id,
            Life(request.rebalance_timeout_ms, request.session_timeout_ms, is_connected=True, polled_ns=now_ns),
        )
        if admit(draft, request):
            draft.raise_epoch()
            self._steps.retarget(draft)
        release(draft, request.member_id, request.owned)
        step = self._steps.of(draft, told, joining=request.member_id)
        missing = tuple(sorted(set(request.topics) - topics.facts.keys()))
        joined = Joined(request.member_id, draft.current(request.member_id).epoch, missing)
        return Step(step.records, (joined,), step.actions)

    def why_not(self, request: Join) -> Refused | None:
        """Why join() refuses it whatever the topics are: what it says of itself, or that it is no member any more."""
        return bad_join(self._group(request.group), request, self._assignors)

    def owns(self, request: Owns) -> GroupStep:
        """What it was to give up and does not have any more, others get. Not answered."""
        group = self._groups.get(request.group)
        if group is None or request.member_id not in group.members:
            return Step()
        draft = Draft(group)
        release(draft, request.member_id, request.owned)
        return self._steps.of(draft)

    def leave(self, request: Leave, now_ns: int) -> GroupStep:
        group = self._groups.get(request.group)
        if group is None or request.member_id not in group.members:
            said = f"{request.member_id} is not, or not any more, a member of group {request.group!r}"
            return refused(refusal(UnknownMemberError, said))
        step = self.died(Died(request.group, request.member_id), now_ns)
        return Step(step.records, (Accepted(),), step.actions)

    def died(self, request: Died, now_ns: int) -> GroupStep:
        """A static member stays for its session timeout, and keeps its partitions. Not answered."""
        group = self._groups.get(request.group)
        if group is None or request.member_id not in group.members:
            return Step()
        life = self._lives.find(request.group, request.member_id)
        if group.members[request.member_id].instance_id is None or life is None:
            return self._steps.without(group, [request.member_id])
        life.is_connected = False
        if not life.is_away:
            life.session_ends_ns = now_ns + life.session_timeout_ms * MS
            self._lives.watch(life)
        return self._steps.of(Draft(group))

    def polled(self, request: Polled) -> GroupStep:
        """Who has not polled for its rebalance timeout when tick() asked is fenced. Not answered."""
        group, life = self._groups.get(request.group), self._lives.find(request.group, request.member_id)
        if group is None or life is None:
            return Step()
        life.polled_ns = max(request.at_ns, life.polled_ns or 0)
        asked_ns, life.asked_ns = life.asked_ns, None
        self._lives.watch(life)
        if asked_ns is None or life.is_away or not life.is_stuck(asked_ns):
            return Step()
        return self._steps.without(
            group, [request.member_id], self._steps.fence_stuck(group.name, request.member_id, life, asked_ns)
        )

    def assignment_computed(self, request: AssignmentComputed, now_ns: int) -> GroupStep:
        """Not answered: what is wrong with it stands in the group's description, and the group keeps what it has until
        another member, or the same one some time later, makes a better one."""
        group, topics = self._groups.get(request.group), self._steps.topics
        if group is None or topics is None:
            return Step()
        draft = Draft(group)
        if self._custom.take(group, topics, request, now_ns):
            put_targets(draft, topics, request.assignment)
        return self._steps.of(draft)

    def static_member(self, group: str, instance_id: str | None) -> str | None:
        """The id of the member that one with this instance id would take the place of."""
        found = self._groups.get(group)
        return None if found is None else found.of_instance(instance_id)

    # --- offsets ------------------------------------------------------------------------------------------------------

    def commit(self, request: Commit) -> GroupStep:
        """All or none. That no offset is beyond its log's end is for the caller to see."""
        topics = self._steps.topics
        if topics is None:
            return refused(topics_unknown(request.group))
        problem = bad_commit(self._group(request.group), request, topics, self._metadata_bytes_max)
        return refused(problem) if problem else Step(committed(request, topics), (Accepted(),))

    def delete_group(self, request: DeleteGroup) -> GroupStep:
        group = self._groups.get(request.group)
        if group is None:
            return refused(unknown_group(request.group))
        problem = bad_delete_group(group)
        return refused(problem) if problem else Step(tuple(group_removed(group)), (Accepted(),))

    def delete_offsets(self, request: DeleteOffsets) -> GroupStep:
        """Those of them that there are."""
        group, topics = self._groups.get(request.group), self._steps.topics
        if topics is None:
            return refused(topics_unknown(request.group))
        if group is None:
            return refused(unknown_group(request.group))
        problem = bad_delete_offsets(group, request, topics)
        if problem is not None:
            return refused(problem)
        partitions = set() if request.validate_only else set(request.partitions)
        return Step(tuple(removed(group, partitions)), (Accepted(),))

    # --- the rest of the world ----------------------------------------------------------------------------------------

    def topics_are(self, request: TopicsAre) -> GroupStep:
        """Members get partitions of new topics; those of topics that are gone leave them, and their offsets go."""
        before, topics = self._steps.topics, Topics(request.topics, self._matcher)
        self._steps.topics = topics
        steps = []
        for _, group in sorted(self._groups.items()):
            draft = Draft(group)
            if _has_other_topics(draft, before, topics):
                draft.raise_epoch()
            forget_missing(draft, topics)
            if not draft.is_settled():
                self._steps.retarget(draft)
            steps += [self._steps.of(draft), Step(tuple(of_missing_topics(group, topics)))]
        return together(steps)

    def tick(self, now_ns: int, now_ms: int) -> GroupStep:
        """What time alone has changed. Questions come last: an answer that is given at once makes steps of its own."""
        asked, over = list[AskWhenPolled](), dict[str, list[str]]()
        told = dict[str, list[GroupAction]]()
        for name, member_id, verdict in self._lives.judge(now_ns):
            if verdict is Verdict.ASK:
                asked.append(AskWhenPolled(name, member_id))
                continue
            over.setdefault(name, []).append(member_id)
            life = self._lives.find(name, member_id)
            if verdict is Verdict.STUCK and life is not None:
                told.setdefault(name, []).extend(self._steps.fence_stuck(name, member_id, life, now_ns))
        steps = [self._steps.without(self._groups[name], over[name], told.get(name, ())) for name in over]
        again = self._custom.due(now_ns)
        steps += [self._steps.of(Draft(self._groups[name])) for name in again if name not in over]
        steps.append(Step(tuple(self._expiry.tick(self._groups, now_ns, now_ms)), actions=tuple(asked)))
        return together(steps)

    def next_deadline_ns(self) -> int | None:
        """When tick() is to be called at the latest. None: time changes nothing."""
        lives, custom = self._lives.next_deadline_ns(), self._custom.next_deadline_ns()
        due = (lives, custom, self._expiry.next_deadline_ns(self._groups))
        return min((each for each in due if each is not None), default=None)

    def replay(self, record: GroupRecord) -> None:
        """Make it so. The last record of each key gives the state, in whatever order keys come."""
        group = self._groups.setdefault(record.group, Group(record.group))
        group.replay(record)
        if isinstance(record, MemberChanged) and self._lives.find(record.group, record.member_id) is None:
            self._lives.add(record.group, record.member_id, Life(record.rebalance_timeout_ms))
        elif isinstance(record, MemberRemoved):
            self._lives.drop(record.group, record.member_id)
        if group.is_gone():
            del self._groups[record.group]
            self._custom.forget(record.group)

    # --- reads --------------------------------------------------------------------------------------------------------

    def offset(self, group: str, topic: str, partition: int) -> OffsetCommitted | None:
        found = self._groups.get(group)
        return None if found is None else found.offsets.get((topic, partition))

    def offsets(self, group: str) -> tuple[OffsetCommitted, ...]:
        """Sorted by topic and partition; none of a group that does not exist."""
        found = self._groups.get(group)
        return () if found is None else tuple(found.offsets[key] for key in sorted(found.offsets))

    def may_commit(self, group: str, member_id: str) -> Partitions:
        """Of which partitions a member's offsets are accepted now."""
        found = self._groups.get(group)
        return NO_PARTITIONS if found is None else held(found.current(member_id))

    def group(self, name: str) -> GroupDescription | None:
        found = self._groups.get(name)
        return None if found is None else describe(found, self._lives, self._custom.error(found))

    def groups(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(self._groups))

    def members(self) -> Iterator[MemberChanged]:
        """Of all groups."""
        for group in self._groups.values():
            yield from group.members.values()

    def _group(self, name: str) -> Group:
        return self._groups.get(name) or Group(name)


def _has_other_topics(group: Group, before: Topics | None, topics: Topics) -> bool:
    """Whether targets have to be computed anew. A coordinator that has just started has nothing but them to go by."""
    if before is None:
        return group.is_settled() and not is_target_of(group, topics)
    return wanted_topics(group, before) != wanted_topics(group, topics)
