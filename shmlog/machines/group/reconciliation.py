"""How members get from what they have to what they are to have: one by one, and nobody waits who does not move.

    has something beyond its target   it is asked to give it up first, and gets nothing new until it has
    lacks something                   it gets what nobody else may have, and waits for the rest
    has its target                    stable

A member whose target changes while it gives something up is asked to give up what is beyond the new one as well. What
it is giving up and is to have after all it gets again once it has given it up: so its final position is committed, and
it goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection

from shmlog.machines.group.records import NO_PARTITIONS, CurrentChanged, MemberState, Partitions
from shmlog.machines.group.state import Draft
from shmlog.machines.group.topics import Topics


def reconcile(draft: Draft, away: Collection[str]) -> None:
    """Bring everybody as near to the target as may be now. `away`: members without a process, which read nothing and so
    have given up what they are to give up."""
    on_the_way = [member_id for member_id in sorted(draft.members) if not _is_there(draft, member_id)]
    for member_id in on_the_way:
        _put_if_new(draft, _give_up(draft, member_id, member_id in away))
    for member_id in on_the_way:
        _put_if_new(draft, _take_up(draft, member_id))


def release(draft: Draft, member_id: str, owned: Partitions) -> None:
    """A member may have no more than `owned`: what it was asked to give up and is not in there, others may have."""
    current = draft.currents.get(member_id)
    if current is None or current.pending_revocation <= owned:
        return
    pending = current.pending_revocation & owned
    state = MemberState.UNREVOKED_PARTITIONS if pending else MemberState.UNRELEASED_PARTITIONS
    draft.put(
        CurrentChanged(draft.name, member_id, current.epoch, current.previous_epoch, state, current.assigned, pending)
    )


def forget_missing(draft: Draft, topics: Topics) -> None:
    """Nobody has partitions of topics that are gone, and nobody has to give them up."""
    for member_id, current in sorted(draft.currents.items()):
        assigned, pending = topics.existing(current.assigned), topics.existing(current.pending_revocation)
        if assigned is not current.assigned or pending is not current.pending_revocation:
            draft.put(
                CurrentChanged(
                    draft.name, member_id, current.epoch, current.previous_epoch, current.state, assigned, pending
                )
            )


def _is_there(draft: Draft, member_id: str) -> bool:
    current = draft.currents.get(member_id)
    if current is None or current.state is not MemberState.STABLE or current.epoch != draft.target_epoch:
        return False
    return current.assigned == draft.target(member_id)


def _give_up(draft: Draft, member_id: str, is_away: bool) -> CurrentChanged:
    current = draft.current(member_id)
    beyond = current.assigned - draft.target(member_id)
    pending = NO_PARTITIONS if is_away else current.pending_revocation | beyond
    state = MemberState.UNREVOKED_PARTITIONS if pending else current.state
    return CurrentChanged(
        draft.name, member_id, current.epoch, current.previous_epoch, state, current.assigned - beyond, pending
    )


def _take_up(draft: Draft, member_id: str) -> CurrentChanged:
    current, target = draft.current(member_id), draft.target(member_id)
    if current.pending_revocation:
        return current
    epoch = draft.target_epoch or 0
    previous = current.epoch if epoch != current.epoch else current.previous_epoch
    assigned = current.assigned
    if assigned != target:
        assigned |= {partition for partition in target - assigned if partition not in draft.holders}
    state = MemberState.STABLE if assigned == target else MemberState.UNRELEASED_PARTITIONS
    return CurrentChanged(draft.name, member_id, epoch, previous, state, assigned, NO_PARTITIONS)


def _put_if_new(draft: Draft, current: CurrentChanged) -> None:
    if draft.currents.get(current.member_id) != current:
        draft.put(current)
