"""What the supervisor says to its workers and they to it: owners, followers and the zygote have a socket pair each.

Everybody imports these from messages.py, which describes the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.cleaner_messages import SwapRefused, SwapSegments
from shmlog.control.group_messages import TopicsAre
from shmlog.control.log_messages import ApplyRetention, DeleteBefore, FreeDisk, HoldRecords, LogSize, RecordsDeleted
from shmlog.control.worker_specs import FollowerAt, FollowerSpec, OwnerSpec
from shmlog.memory.lane import LaneTerms

# --- supervisor -> owner ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AttachClient:
    """Ring the doorbell in this client region when there is news."""

    client_id: int
    region: str


@dataclass(frozen=True, slots=True)
class DetachClient:
    client_id: int


@dataclass(frozen=True, slots=True)
class AttachLane:
    lane_id: int
    region: str
    terms: LaneTerms


@dataclass(frozen=True, slots=True)
class DetachLane:
    """Drain, close, detach, and answer with LaneDetached. `reason`: "closed" or "dead"."""

    lane_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class MendSegment:
    """To an owner or a follower: from a damaged batch of a sealed segment on, write what the log in `source_dir` has.

    The segment begins with `base_offset`, the next one with `following`, the batch with `first_offset` at byte
    `position`. SegmentsLookedAt says what came of it.
    """

    base_offset: int
    following: int
    position: int
    first_offset: int
    source_dir: str


@dataclass(frozen=True, slots=True)
class AlterConfig:
    """The topic's effective settings from now on."""

    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class FollowersAre:
    """All followers there are from now on. The high watermark waits for those that are in sync, and for no others.

    `version` rises with every one of these orders to one owner, whoever gives it. What the owner reports of a follower
    carries the version that it had then; a report of an earlier one is void, because this order has undone what the
    owner did for it, and comes again if it is still true.
    """

    version: int
    followers: list[FollowerAt]


@dataclass(frozen=True, slots=True)
class Trace:
    """Follow about one record per `interval_ns` and leave its times in the ctl region, until `until_ns` (monotonic)."""

    until_ns: int
    interval_ns: int


@dataclass(frozen=True, slots=True)
class StepDown:
    """To an owner: finish what is begun, leave ring and lanes as they are to another replica, answer Closed, exit."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """To a follower: take what the leader has written, as far as that can be read, answer Closed and exit, so that an
    owner can go on with the copy at once."""


@dataclass(frozen=True, slots=True)
class LeaderMoved:
    """To a follower: another replica leads from now on, whose log is in `log_dir`."""

    log_dir: str


@dataclass(frozen=True, slots=True)
class Close:
    """Drain, close cleanly, answer Closed and exit 0. `delete`: the topic is gone, its data goes too.

    A follower takes what its leader has written, as far as that can be read, before it closes.
    """

    delete: bool


# --- owner -> supervisor ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaneHeld:
    """A lane that an owner found in its lane table, with the terms that it was granted on."""

    lane_id: int
    terms: LaneTerms


@dataclass(frozen=True, slots=True)
class OwnerReady:
    """The owner runs. `lanes` are those that it found in its lane table.

    `recovered` says in one sentence what had to be recovered; empty if nothing. `damaged`: the log directory has notes
    of damage.
    """

    partition_id: int
    leader_epoch: int
    generation: int
    ring_bytes: int
    index_entries: int
    log_start_offset: int
    log_end_offset: int
    lanes: list[LaneHeld]
    recovered: str
    damaged: bool


@dataclass(frozen=True, slots=True)
class ClientAttached:
    client_id: int


@dataclass(frozen=True, slots=True)
class LaneAttached:
    lane_id: int


@dataclass(frozen=True, slots=True)
class LaneDetached:
    """`reason`: "closed", "dead", "idle" or "quarantined"; `records` is how many it ever brought to the log."""

    lane_id: int
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class OwnerRecovering:
    """The owner is not ready yet, and gets on with it; sent again and again. One that is silent is stuck."""


@dataclass(frozen=True, slots=True)
class LogRewritten:
    """A sync failed, and everything that was at stake is in new files now. `message` says what it was."""

    message: str


@dataclass(frozen=True, slots=True)
class ReplicaCaughtUp:
    """A follower that was not in sync has all that consumers may read, and the high watermark waits for it already.

    `version` as in FollowersAre.
    """

    version: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class ReplicaLags:
    """A follower in the in-sync set does not keep up, or nothing that any follower says is believed any more. The high
    watermark waits for it, if it did, until FollowersAre comes.

    `lag_records`: how far it is behind; `reason`: what is wrong with its region, empty if it is only slow: then only a
    new one helps, which a follower makes when it starts. `version` as in FollowersAre.
    """

    version: int
    replica_id: int
    lag_records: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogRefused:
    """The leader's disk has had no room for longer than replica.lag.time.max.ms, as `message` says; sent again and
    again while that lasts. Another replica may have room."""

    message: str


@dataclass(frozen=True, slots=True)
class SegmentsLookedAt:
    """Looking at older segments found indexes that had to be made anew, or damage. `message` says what."""

    message: str


@dataclass(frozen=True, slots=True)
class OwnerFailed:
    """The owner cannot go on and exits. `error` is the name of a class of shmlog.errors."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Everything is written; the owner exits 0."""

    log_end_offset: int


@dataclass(frozen=True, slots=True)
class OwnerReturns:
    """The first word of an owner to a supervisor that has taken the place of its own: it goes on as it is.

    `version`: its shmlog's. `spec`: what it was started with. `ready`: as it would say it now. `clients`: those that it
    rings.
    """

    version: str
    spec: OwnerSpec
    ready: OwnerReady
    clients: list[int]


# --- follower -> supervisor -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FollowerReady:
    """The follower has opened its log, and looks for a leader to follow.

    Whether its log is a beginning of that leader's is said by the epoch in its replica region. `recovered` and
    `damaged` as in OwnerReady.
    """

    partition_id: int
    replica_id: int
    log_end_offset: int
    recovered: str
    damaged: bool


@dataclass(frozen=True, slots=True)
class FollowerTruncated:
    """The follower has cut what its leader does not have, or begun anew where that begins. `message` says what."""

    message: str


@dataclass(frozen=True, slots=True)
class FollowerWaits:
    """The follower cannot go on, for the reason that `message` gives, and tries again; "": it goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class FollowerFailed:
    """The follower cannot go on and exits. `error` is the name of a class of shmlog.errors."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class FollowerReturns:
    """As OwnerReturns. `waits_for`: as it said it last in FollowerWaits."""

    version: str
    spec: FollowerSpec
    ready: FollowerReady
    waits_for: str


OwnerOrder = (
    AttachClient
    | DetachClient
    | AttachLane
    | DetachLane
    | ApplyRetention
    | DeleteBefore
    | FreeDisk
    | HoldRecords
    | AlterConfig
    | FollowersAre
    | MendSegment
    | SwapSegments
    | TopicsAre
    | Trace
    | StepDown
    | Close
)
OwnerReport = (
    OwnerRecovering
    | OwnerReady
    | OwnerReturns
    | ClientAttached
    | LaneAttached
    | LaneDetached
    | LogRefused
    | LogRewritten
    | LogSize
    | RecordsDeleted
    | ReplicaCaughtUp
    | ReplicaLags
    | SegmentsLookedAt
    | SwapRefused
    | OwnerFailed
    | Closed
)
FollowerOrder = AlterConfig | FreeDisk | HoldRecords | LeaderMoved | MendSegment | SwapSegments | HandOver | Close
FollowerReport = (
    OwnerRecovering
    | FollowerReady
    | FollowerReturns
    | FollowerTruncated
    | FollowerWaits
    | SegmentsLookedAt
    | SwapRefused
    | FollowerFailed
    | Closed
)
