"""Which replica leads when the leader cannot, or shall not any more: one small state machine per partition.

    steady --the leader's log has failed, or somebody wants another leader--> moving
    moving --the owner is gone, and the follower that is to lead has closed its copy--> steady, with a new leader

Both are told at the same time: what the owner still publishes and the follower does not copy any more is in the ring,
and is taken from there.

A dead owner has a successor over the same log; that is not decided here (machines/supervision). This is for logs that
nobody can lead from: their directory is gone, or its disk fails, or owners over it die one after the other. Then the
replica in sync that has most of the log takes over. One that is not in sync may only where the topic says so
(unclean.leader.election.enable), because what it lacks is lost.

The new leader is durable, with the set of replicas in sync that it begins with, before its owner is started, and nobody
writes to its copy meanwhile: the follower's exit was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shmlog.machines.metadata_records import InSyncChanged
from shmlog.machines.step import Step


@dataclass(frozen=True, slots=True)
class Candidates:
    """A partition's replicas as they are. `following` has the end of the copy of each follower that runs; `is_unclean`:
    the topic lets one lead that is not in sync. `stopped` says of each other why it cannot be asked."""

    leader: int
    in_sync: frozenset[int]
    following: Mapping[int, int]
    stopped: Mapping[int, str]
    is_unclean: bool


# --- what the supervisor sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogFailed:
    """No owner can lead from the leader's log now."""

    partition_id: int
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class LeaderWanted:
    """Somebody wants this replica to lead."""

    partition_id: int
    replica_id: int
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class Vacant:
    """The leader's owner is gone and is not replaced. `in_sync` as it is now."""

    partition_id: int
    in_sync: frozenset[int]


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The follower is gone, with its copy closed for us unless it died."""

    partition_id: int
    replica_id: int
    in_sync: frozenset[int]


Observation = LogFailed | LeaderWanted | Vacant | HandedOver


# --- what it shall do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VacateLeader:
    """Let the owner step down, if one runs, and start no other; Vacant is observed when it is gone."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class AskToHandOver:
    """Let the follower take what it can still get, close its copy and exit; HandedOver is observed when it is gone."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class Lead:
    """Start an owner over this replica's copy, and a follower over the log of the leader before."""

    partition_id: int
    replica_id: int
    in_sync: frozenset[int]


@dataclass(frozen=True, slots=True)
class NobodyCanLead:
    """`reason` is what is missing, in a sentence."""

    partition_id: int
    reason: str


FailoverAction = VacateLeader | AskToHandOver | Lead | NobodyCanLead
FailoverStep = Step[InSyncChanged, None, FailoverAction]


@dataclass(slots=True)
class _Move:
    """A change of leader that is under way."""

    before: int
    to: int
    is_unclean: bool
    is_vacant: bool = False
    has_handed_over: bool = False


class FailoverMachine:
    """observe() is the only way in; its step says what to do."""

    def __init__(self) -> None:
        self._moves: dict[int, _Move] = {}

    def moving_to(self, partition_id: int) -> int | None:
        """The replica that is about to lead; None: nothing is under way."""
        move = self._moves.get(partition_id)
        return None if move is None else move.to

    def observe(self, seen: Observation) -> FailoverStep:
        """Take one observation in and say what to do about it."""
        move = self._moves.get(seen.partition_id)
        match seen:
            case LogFailed() if move is None:
                return self._elect(seen.partition_id, seen.candidates)
            case LeaderWanted() if move is None:
                return self._move_to(seen)
            case Vacant() if move is not None:
                move.is_vacant = True
                return self._lead_if_free(seen, move)
            case HandedOver() if move is not None and move.to == seen.replica_id:
                move.has_handed_over = True
                return self._lead_if_free(seen, move)
        return Step()

    def _elect(self, partition_id: int, candidates: Candidates) -> FailoverStep:
        able = {one: end for one, end in candidates.following.items() if one in candidates.in_sync}
        is_unclean = not able and candidates.is_unclean
        if is_unclean:
            able = dict(candidates.following)
        if not able:
            return Step(actions=(NobodyCanLead(partition_id, why_nobody(candidates)),))
        chosen = min(able, key=lambda one: (-able[one], one))
        return self._begin(partition_id, _Move(candidates.leader, chosen, is_unclean))

    def _move_to(self, seen: LeaderWanted) -> FailoverStep:
        found, wanted = seen.candidates, seen.replica_id
        if wanted == found.leader:
            return Step()
        if wanted not in found.following or wanted not in found.in_sync:
            reason = found.stopped.get(wanted, "it is not in sync" if wanted in found.following else "there is none")
            return Step(actions=(NobodyCanLead(seen.partition_id, f"replica {wanted} cannot lead: {reason}"),))
        return self._begin(seen.partition_id, _Move(found.leader, wanted, is_unclean=False))

    def _begin(self, partition_id: int, move: _Move) -> FailoverStep:
        self._moves[partition_id] = move
        return Step(actions=(VacateLeader(partition_id), AskToHandOver(partition_id, move.to)))

    def _lead_if_free(self, seen: Vacant | HandedOver, move: _Move) -> FailoverStep:
        if not move.is_vacant or not move.has_handed_over:
            return Step()
        del self._moves[seen.partition_id]
        in_sync = frozenset({move.to}) if move.is_unclean else (seen.in_sync - {move.before}) | {move.to}
        return Step(
            records=(InSyncChanged(seen.partition_id, move.to, sorted(in_sync)),),
            actions=(Lead(seen.partition_id, move.to, in_sync),),
        )


def why_nobody(candidates: Candidates) -> str:
    """What would have to come back so that the partition has a leader again."""
    said = [f"replica {candidates.leader}, which led, cannot"]
    for one in sorted({*candidates.following, *candidates.stopped} - {candidates.leader}):
        if one in candidates.following:
            said.append(f"replica {one} is not in sync (unclean.leader.election.enable=true lets it lead, with losses)")
        else:
            state = "in sync" if one in candidates.in_sync else "not in sync"
            said.append(f"replica {one}, {state}, does not run: {candidates.stopped[one]}")
    return "; ".join(said)
