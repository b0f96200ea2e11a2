"""Which followers run, and which replicas are in sync: one small state machine per partition with several replicas.

    a follower    down --wanted--> starting --ready--> following --exit--> waiting --pause over--> starting ...
                                                       following --hand over--> handing over --exit--> it leads

    in sync       all replicas of a new partition are; a follower that dies is out at once, one that lags when the
                  leader says so, and it is in again when the leader says that it has caught up (and is still there)

The leader counts a follower in before it says that it has caught up, and counts a lagging one until it is told that it
is out: so at every moment what it waits for is at least what the metadata log says (Kafka's maximal ISR, KIP-497).
State is what the supervisor has seen; durable is the in-sync set alone, which comes out as a record before anybody is
told. The leader is always in sync with itself; who owns the partition is not decided here (machines/supervision).
"""

# ruff: noqa: PLC0414  (`as` tells mypy that the events are imported from here)
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from shmlog.limits import RESTART_BACKOFF_FIRST_MS, RESTART_BACKOFF_MAX_MS, RESTART_BACKOFF_SECOND_MS
from shmlog.machines.metadata_records import InSyncChanged
from shmlog.machines.replication_events import (
    CaughtUp as CaughtUp,
    CloseFollower as CloseFollower,
    FollowerAdded as FollowerAdded,
    FollowerDropped as FollowerDropped,
    FollowerExited as FollowerExited,
    FollowerFailing as FollowerFailing,
    FollowerIsDropped as FollowerIsDropped,
    FollowerReady as FollowerReady,
    FollowersGone as FollowersGone,
    HandOverWanted as HandOverWanted,
    HasHandedOver as HasHandedOver,
    KillFollower as KillFollower,
    Lags as Lags,
    LeaderChanged as LeaderChanged,
    Observation as Observation,
    OfFollower as OfFollower,
    OrderHandOver as OrderHandOver,
    ReplicasUnwanted as ReplicasUnwanted,
    ReplicasWanted as ReplicasWanted,
    ReplicationAction as ReplicationAction,
    Silent as Silent,
    Spoiled as Spoiled,
    StartFollower as StartFollower,
    TellFollowers as TellFollowers,
    TellLeader as TellLeader,
    Tick as Tick,
)
from shmlog.machines.step import Step

STABLE_AFTER_MS = 250
"""A follower that followed this long before it died was healthy: its successor starts at once."""

LEADER_FIRST_MS = 100
"""So long after a change of leader the one before begins to follow: the new one starts faster without it."""

_MS = 1_000_000


class FollowerPhase(Enum):
    """The value is the word that users see."""

    DOWN = "stopped"
    STARTING = "starting"
    FOLLOWING = "following"
    WAITING = "waiting"
    CLOSING = "closing"
    HANDING_OVER = "handing over"


ReplicationStep = Step[InSyncChanged, None, ReplicationAction]


@dataclass(slots=True)
class Follower:
    """One follower. `error` is what its last process said when it failed, or why this one was killed."""

    phase: FollowerPhase = FollowerPhase.DOWN
    failures: int = 0
    ready_ns: int | None = None
    restart_ns: int = 0
    killed: bool = False
    error: str = ""
    dropped: bool = False


@dataclass(slots=True)
class Replicated:
    """One partition."""

    leader: int
    in_sync: set[int]
    followers: dict[int, Follower]
    unwanted: bool = False
    delete: bool = False


class ReplicationMachine:
    """observe() is the only way in; its step says what to do. `unresponsive_ms` 0: never kill a silent follower."""

    def __init__(self, *, backoff_max_ms: int = RESTART_BACKOFF_MAX_MS, unresponsive_ms: int = 0) -> None:
        self._backoff_max_ms = backoff_max_ms
        self._unresponsive_ns = unresponsive_ms * _MS
        self._partitions: dict[int, Replicated] = {}

    def followers(self, partition_id: int) -> dict[int, Follower]:
        """By replica id; empty for a partition that has none."""
        found = self._partitions.get(partition_id)
        return {} if found is None else dict(found.followers)

    def in_sync(self, partition_id: int) -> frozenset[int]:
        """Replica ids, the leader's among them; empty for a partition without followers."""
        found = self._partitions.get(partition_id)
        return frozenset() if found is None else frozenset(found.in_sync)

    def next_deadline_ns(self) -> int | None:
        """When Tick must be observed next at the latest; None: nothing is due."""
        return min((follower.restart_ns for _, _, follower in self._waiting()), default=None)

    def all_gone(self) -> bool:
        """No partition has followers, or wants any."""
        return not self._partitions

    def observe(self, seen: Observation, now_ns: int) -> ReplicationStep:
        """Take one observation in and say what to do about it."""
        match seen:
            case ReplicasWanted():
                return self._wanted(seen)
            case FollowerAdded():
                return self._added(seen)
            case Tick():
                return together(
                    self._start(partition_id, replica_id, follower)
                    for partition_id, replica_id, follower in list(self._waiting())
                    if follower.restart_ns <= now_ns
                )
        one = self._partitions.get(seen.partition_id)
        if one is None:
            return Step()
        if isinstance(seen, ReplicasUnwanted):
            return self._unwanted(seen, one)
        if isinstance(seen, LeaderChanged):
            return self._leader_changed(seen, one, now_ns)
        if isinstance(seen, FollowerDropped):
            return self._dropped(seen, one)
        follower = one.followers.get(seen.replica_id)
        return Step() if follower is None else self._of_follower(seen, one, follower, now_ns)

    def _of_follower(self, seen: OfFollower, one: Replicated, follower: Follower, now_ns: int) -> ReplicationStep:
        match seen:
            case HandOverWanted():
                return self._hand_over(seen, follower)
            case FollowerReady() if follower.phase is FollowerPhase.STARTING:
                follower.phase, follower.ready_ns, follower.error = FollowerPhase.FOLLOWING, now_ns, ""
                return Step(actions=(TellLeader(seen.partition_id),))
            case FollowerReady() if follower.phase is FollowerPhase.HANDING_OVER:
                return Step(actions=(OrderHandOver(seen.partition_id, seen.replica_id),))
            case FollowerReady() if follower.phase is FollowerPhase.CLOSING:
                deletes = one.delete or follower.dropped
                return Step(actions=(CloseFollower(seen.partition_id, seen.replica_id, deletes),))
            case FollowerFailing():
                follower.error = f"{seen.error}: {seen.message}"
            case FollowerExited():
                return self._exited(seen, one, follower, now_ns)
            case CaughtUp() if follower.phase is FollowerPhase.FOLLOWING:
                follower.failures = 0
                return self._change(seen.partition_id, one, one.in_sync | {seen.replica_id})
            case CaughtUp():  # it has died since: the leader must not go on counting it
                return Step(actions=(TellLeader(seen.partition_id),))
            case Lags():
                return self._change(seen.partition_id, one, one.in_sync - {seen.replica_id})
            case Silent() | Spoiled():
                return self._doubted(seen, follower, now_ns)
        return Step()

    def _wanted(self, seen: ReplicasWanted) -> ReplicationStep:
        assert seen.partition_id not in self._partitions, "a partition's replicas are wanted once"
        followers = {replica_id: Follower() for replica_id in seen.followers}
        in_sync = {seen.leader, *(replica_id for replica_id in seen.in_sync if replica_id in followers)}
        self._partitions[seen.partition_id] = Replicated(seen.leader, in_sync, followers)
        return together(self._start(seen.partition_id, *each) for each in followers.items())

    def _added(self, seen: FollowerAdded) -> ReplicationStep:
        fresh = Replicated(seen.leader, {seen.leader}, {})
        one, follower = self._partitions.setdefault(seen.partition_id, fresh), Follower()
        one.followers[seen.replica_id] = follower
        return self._start(seen.partition_id, seen.replica_id, follower)

    def _dropped(self, seen: FollowerDropped, one: Replicated) -> ReplicationStep:
        follower = one.followers[seen.replica_id]
        was, follower.dropped = follower.phase, True
        one.in_sync.discard(seen.replica_id)
        told: ReplicationStep = Step(actions=(TellLeader(seen.partition_id),))
        if was in (FollowerPhase.DOWN, FollowerPhase.WAITING):
            return together([told, self._remove(seen.partition_id, seen.replica_id, one, follower)])
        follower.phase = FollowerPhase.CLOSING  # one that starts is told to close when it is ready
        if was is not FollowerPhase.FOLLOWING:
            return told
        return together([told, Step(actions=(CloseFollower(seen.partition_id, seen.replica_id, delete=True),))])

    def _remove(self, partition_id: int, replica_id: int, one: Replicated, follower: Follower) -> ReplicationStep:
        """Its process is gone, and gets no successor."""
        del one.followers[replica_id]
        done: ReplicationStep = Step()
        if follower.dropped:
            done = Step(actions=(FollowerIsDropped(partition_id, replica_id),))
        if one.unwanted:
            return together([done, self._gone_if_empty(partition_id, one)])
        if not one.followers:
            del self._partitions[partition_id]
        return done

    def _start(self, partition_id: int, replica_id: int, follower: Follower) -> ReplicationStep:
        follower.phase, follower.ready_ns, follower.killed = FollowerPhase.STARTING, None, False
        return Step(actions=(StartFollower(partition_id, replica_id),))

    def _doubted(self, seen: Silent | Spoiled, follower: Follower, now_ns: int) -> ReplicationStep:
        if follower.killed or follower.phase in (FollowerPhase.DOWN, FollowerPhase.WAITING):
            return Step()
        if isinstance(seen, Spoiled):
            reason = seen.reason
        elif 0 < self._unresponsive_ns <= now_ns - seen.since_ns:
            reason = f"it has shown no sign of life for {(now_ns - seen.since_ns) // _MS} ms"
        else:
            return Step()
        follower.killed, follower.error = True, reason
        return Step(actions=(KillFollower(seen.partition_id, seen.replica_id),))

    def _hand_over(self, seen: HandOverWanted, follower: Follower) -> ReplicationStep:
        was, follower.phase = follower.phase, FollowerPhase.HANDING_OVER
        match was:
            case FollowerPhase.FOLLOWING:
                return Step(actions=(OrderHandOver(seen.partition_id, seen.replica_id),))
            case FollowerPhase.STARTING:  # told so when it is ready
                return Step()
        follower.phase = FollowerPhase.DOWN  # it has died since it was chosen: its copy is as good as it left it
        return Step(actions=(HasHandedOver(seen.partition_id, seen.replica_id),))

    def _leader_changed(self, seen: LeaderChanged, one: Replicated, now_ns: int) -> ReplicationStep:
        before, one.leader, one.in_sync = one.leader, seen.leader, set(seen.in_sync)
        one.followers.pop(seen.leader, None)
        if one.unwanted:
            return self._gone_if_empty(seen.partition_id, one)
        one.followers[before] = Follower(FollowerPhase.WAITING, restart_ns=now_ns + LEADER_FIRST_MS * _MS)
        return Step(actions=(TellFollowers(seen.partition_id),))

    def _exited(self, seen: FollowerExited, one: Replicated, follower: Follower, now_ns: int) -> ReplicationStep:
        if follower.phase is FollowerPhase.HANDING_OVER:
            follower.phase = FollowerPhase.DOWN
            return Step(actions=(HasHandedOver(seen.partition_id, seen.replica_id),))
        if one.unwanted or follower.dropped:
            return self._remove(seen.partition_id, seen.replica_id, one, follower)
        was_stable = follower.ready_ns is not None and now_ns - follower.ready_ns >= STABLE_AFTER_MS * _MS
        follower.failures = 1 if was_stable and not follower.killed else follower.failures + 1
        follower.ready_ns = None
        out: ReplicationStep = Step()
        if seen.has_leader:
            out = self._change(seen.partition_id, one, one.in_sync - {seen.replica_id})
        pause_ms = self._pause_ms(follower.failures)
        if pause_ms == 0:
            return together([out, self._start(seen.partition_id, seen.replica_id, follower)])
        follower.phase, follower.restart_ns = FollowerPhase.WAITING, now_ns + pause_ms * _MS
        return out

    def _pause_ms(self, failures: int) -> int:
        """Before the successor after this many failures in a row."""
        if failures == 1:
            return RESTART_BACKOFF_FIRST_MS
        return min(RESTART_BACKOFF_SECOND_MS << min(failures - 2, 30), self._backoff_max_ms)

    def _change(self, partition_id: int, one: Replicated, in_sync: set[int]) -> ReplicationStep:
        """Nothing if it is so already. While the followers close, the set stays: they are as they are told to be."""
        if in_sync == one.in_sync or one.unwanted:
            return Step()
        one.in_sync = in_sync
        return Step(
            records=(InSyncChanged(partition_id, one.leader, sorted(in_sync)),), actions=(TellLeader(partition_id),)
        )

    def _unwanted(self, seen: ReplicasUnwanted, one: Replicated) -> ReplicationStep:
        one.unwanted, one.delete = True, one.delete or seen.delete
        steps: list[ReplicationStep] = []
        for replica_id, follower in list(one.followers.items()):
            match follower.phase:
                case FollowerPhase.FOLLOWING:
                    follower.phase = FollowerPhase.CLOSING
                    steps.append(Step(actions=(CloseFollower(seen.partition_id, replica_id, one.delete),)))
                case FollowerPhase.STARTING:
                    follower.phase = FollowerPhase.CLOSING  # told to close when it is ready
                case FollowerPhase.HANDING_OVER:
                    pass  # it is gone when it leads
                case FollowerPhase.WAITING | FollowerPhase.DOWN:
                    del one.followers[replica_id]
        return together([*steps, self._gone_if_empty(seen.partition_id, one)])

    def _gone_if_empty(self, partition_id: int, one: Replicated) -> ReplicationStep:
        if one.followers:
            return Step()
        del self._partitions[partition_id]
        return Step(actions=(FollowersGone(partition_id, one.delete),))

    def _waiting(self) -> Iterable[tuple[int, int, Follower]]:
        return (
            (partition_id, replica_id, follower)
            for partition_id, one in self._partitions.items()
            for replica_id, follower in one.followers.items()
            if follower.phase is FollowerPhase.WAITING
        )


def together(steps: Iterable[ReplicationStep]) -> ReplicationStep:
    """Several steps as one: all records, then all actions."""
    taken = list(steps)
    return Step(
        records=tuple(record for step in taken for record in step.records),
        actions=tuple(action for step in taken for action in step.actions),
    )
