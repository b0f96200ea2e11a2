"""Lanes: made for a client, attached and drained by an owner, unlinked when nothing is in them any more.

What should be attached is known here; what is attached, owners say. After every start of an owner the two are brought
together, so that neither a dead owner nor a restarted supervisor loses a lane or forgets one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from shmlog.control.messages import (
    AttachLane,
    DetachLane,
    LaneAttached,
    LaneDetached,
    LaneGranted,
    LaneHeld,
    OpenLane,
    OwnerReady,
)
from shmlog.errors import (
    InvalidRequestError,
    LaneQuarantinedError,
    LeaderNotAvailableError,
    ShmBudgetExceededError,
    ShmlogError,
)
from shmlog.limits import (
    CONTROL_TIMEOUT_S,
    LANE_BYTES_FIRST,
    LANE_BYTES_MAX,
    LANES_PER_PARTITION_MAX,
    PRODUCER_EPOCH_MAX,
)
from shmlog.machines.producer_id import check_producer_id
from shmlog.machines.supervision import OwnerPhase, Unanswered
from shmlog.memory import names
from shmlog.memory.lane import LaneTerms, lane_data_bytes
from shmlog.memory.region import page_align
from shmlog.record.compression import LEVEL_MAX, LEVEL_MIN, check_available, codec_named
from shmlog.setting import LONG_MAX
from shmlog.settings import TopicConfig
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.clients import Client, Clients
from shmlog.supervisor.describe import Descriptions
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.introductions import Introductions
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owner, Owners
from shmlog.supervisor.regions import Regions

log = logging.getLogger(__name__)


class LanePhase(Enum):
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


@dataclass(slots=True)
class Lane:
    """One lane. `ordered_ns`: since when its owner owes us an answer, None if it owes none."""

    lane_id: int
    partition_id: int
    region: str
    terms: LaneTerms
    phase: LanePhase
    reason: str = "closed"
    ordered_ns: int | None = None
    on_attached: Callable[[], None] | None = None
    refuse: Callable[[ShmlogError], None] | None = None
    on_detached: list[Callable[[], None]] = field(default_factory=list)


class Lanes(OwnerWatcher):
    """All lanes of the cluster; watches owners and clients."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        catalog: Catalog,
        regions: Regions,
        owners: Owners,
        clients: Clients,
        introductions: Introductions,
        describe: Descriptions,
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._regions = regions
        self._owners = owners
        self._clients = clients
        self._introductions = introductions
        self._describe = describe
        self._lanes: dict[int, Lane] = {}
        self._to: defaultdict[int, dict[int, Lane]] = defaultdict(dict)  # the same, by partition id
        clients.on_gone = self.client_gone
        owners.watchers.append(self)

    # --- requests -----------------------------------------------------------------------------------------------------

    def open(self, client: Client, wanted: OpenLane, answer: Answer) -> None:
        """Make a lane; answered when its owner has attached it. Raises what is wrong with the request."""
        partition = self._catalog.machine.partition(wanted.topic, wanted.partition)
        _check_terms(wanted)
        codec = codec_named(wanted.compression_type)
        check_available(codec)  # here as there: owners are forked from the same interpreter
        check_producer_id(wanted.producer_id, client.client_id)
        if self._owners.machine.phase(partition.partition_id) is OwnerPhase.OFFLINE:
            reason = self._owners.machine.error(partition.partition_id)
            raise LeaderNotAvailableError(f"partition {wanted.topic}-{wanted.partition} is offline: {reason}")
        if len(self._to[partition.partition_id]) >= LANES_PER_PARTITION_MAX:
            raise ShmBudgetExceededError(
                f"partition {wanted.topic}-{wanted.partition} has {LANES_PER_PARTITION_MAX} lanes, the most it can"
                " have: close producers that are not used, or add partitions"
            )
        config = TopicConfig.from_mapping(self._catalog.machine.effective_config(partition.topic))
        if wanted.lane_bytes is None:
            data_bytes = lane_data_bytes(config.max_message_bytes)
        else:
            data_bytes = page_align(max(LANE_BYTES_FIRST, wanted.lane_bytes))
        lane_id = self._catalog.next_id("lane")
        terms = LaneTerms(
            client.client_id,
            wanted.producer_id,
            wanted.producer_epoch,
            config.max_message_bytes,
            data_bytes,
            codec,
            wanted.compression_level,
        )
        region = self._regions.make_lane(
            lane_id, terms, where=f"{wanted.topic}-{wanted.partition}", linger_us=wanted.linger_us
        )
        lane = Lane(lane_id, partition.partition_id, region, terms, LanePhase.ATTACHING)
        lane.refuse = answer.fail
        lane.on_attached = lambda: answer.give(
            LaneGranted(
                request_id=answer.request_id,
                lane_id=lane_id,
                region=region,
                data_bytes=data_bytes,
                max_batch_bytes=config.max_message_bytes,
                partition=self._describe.partition(partition),
            )
        )
        self._add(lane)
        client.lanes[lane_id] = partition.partition_id
        self._loop.call_in(CONTROL_TIMEOUT_S, lambda: self._give_up(lane, answer))
        owner = self._owners.running(partition.partition_id)
        if owner is not None:
            self._order_attach(owner, lane)

    def close(self, client: Client, lane_id: int, answer: Answer) -> None:
        """Drain and drop a lane; answered when that is done, also if it was done long ago."""
        lane = self._lanes.get(lane_id)
        if lane is None:
            answer.done()
            return
        if lane.terms.client_id != client.client_id:
            raise InvalidRequestError(f"lane {lane_id} belongs to another client")
        lane.on_detached.append(answer.done)
        self._detach(lane, "closed")

    # --- clients ------------------------------------------------------------------------------------------------------

    def client_gone(self, client: Client) -> None:
        """Drain everything it left in its lanes; its region goes last."""
        self._introductions.leave(client)
        for lane_id in list(client.lanes):
            self._detach(self._lanes[lane_id], "dead")
        self._forget_if_done(client)

    def _forget_if_done(self, client: Client) -> None:
        if client.gone and not client.lanes:
            self._clients.forget(client)

    # --- owners -------------------------------------------------------------------------------------------------------

    def owner_ready(self, ready: OwnerReady) -> None:
        """Bring what the owner has and what it should have together."""
        owner = self._owners.running(ready.partition_id)
        assert owner is not None
        reported = {held.lane_id for held in ready.lanes}
        for held in ready.lanes:
            if held.lane_id not in self._lanes:
                self._adopt(held, ready.partition_id)
        for lane in list(self._to[ready.partition_id].values()):
            lane.ordered_ns = None
            if lane.phase is LanePhase.DETACHING:
                self._order_detach(owner, lane)
            elif lane.lane_id in reported:
                self._introductions.introduce(owner, lane.terms.client_id)
                self._attached(lane)
            else:
                self._order_attach(owner, lane)

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        match report:
            case LaneAttached():
                lane = self._lanes.get(report.lane_id)
                if lane is not None and lane.phase is LanePhase.ATTACHING:
                    self._attached(lane)
            case LaneDetached():
                lane = self._lanes.get(report.lane_id)
                if lane is not None:
                    self._detached(lane, report.reason)

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        """Closed for good: what was in its lanes is written, or deleted with the topic."""
        for lane in list(self._to[partition_id].values()):
            if lane.refuse is not None:
                lane.refuse(LeaderNotAvailableError("the partition was closed"))
            if clean or delete:
                self._detached(lane, "closed")

    def unanswered(self) -> list[Unanswered]:
        """The oldest order of each owner that waits for its answer."""
        oldest: dict[int, int] = {}
        for lane in self._lanes.values():
            if lane.ordered_ns is not None:
                oldest[lane.partition_id] = min(lane.ordered_ns, oldest.get(lane.partition_id, lane.ordered_ns))
        return [Unanswered(partition_id, since_ns) for partition_id, since_ns in oldest.items()]

    def is_known(self, lane_id: int) -> bool:
        return lane_id in self._lanes

    # --- one lane -----------------------------------------------------------------------------------------------------

    def _adopt(self, held: LaneHeld, partition_id: int) -> None:
        """A lane of an earlier supervisor's time, as its owner reports it."""
        region = names.lane(self._identity.cid8, held.lane_id)
        self._regions.adopt_lane(region, held.terms)
        lane = Lane(held.lane_id, partition_id, region, held.terms, LanePhase.ATTACHED)
        self._add(lane)
        client = self._clients.get(held.terms.client_id)
        if client is not None:
            client.lanes[held.lane_id] = partition_id
        if client is None or client.gone:
            lane.phase, lane.reason = LanePhase.DETACHING, "dead"

    def _order_attach(self, owner: Owner, lane: Lane) -> None:
        self._introductions.introduce(owner, lane.terms.client_id)
        lane.ordered_ns = self._loop.now_ns()
        self._owners.send(owner, AttachLane(lane.lane_id, lane.region, lane.terms))

    def _order_detach(self, owner: Owner, lane: Lane) -> None:
        lane.ordered_ns = self._loop.now_ns()
        self._owners.send(owner, DetachLane(lane.lane_id, lane.reason))

    def _attached(self, lane: Lane) -> None:
        lane.phase, lane.ordered_ns, lane.refuse = LanePhase.ATTACHED, None, None
        told, lane.on_attached = lane.on_attached, None
        if told is not None:
            told()

    def _detach(self, lane: Lane, reason: str) -> None:
        if lane.phase is LanePhase.DETACHING:
            return
        lane.phase, lane.reason = LanePhase.DETACHING, reason
        owner = self._owners.running(lane.partition_id)
        if owner is not None:
            self._order_detach(owner, lane)

    def _detached(self, lane: Lane, reason: str) -> None:
        del self._lanes[lane.lane_id]
        del self._to[lane.partition_id][lane.lane_id]
        self._regions.unlink(lane.region)
        if lane.refuse is not None:
            lane.refuse(LaneQuarantinedError(f"the owner did not take lane {lane.lane_id} ({reason})"))
        for told in lane.on_detached:
            told()
        client = self._clients.get(lane.terms.client_id)
        if client is not None:
            client.lanes.pop(lane.lane_id, None)
            self._introductions.part(client, lane.partition_id)
            self._forget_if_done(client)

    def _give_up(self, lane: Lane, answer: Answer) -> None:
        if answer.is_due:
            state = self._owners.machine.phase(lane.partition_id).value
            reason = self._owners.machine.error(lane.partition_id)
            answer.fail(
                LeaderNotAvailableError(
                    f"the partition's owner is {state} and did not attach a lane within {CONTROL_TIMEOUT_S:g} s"
                    + (f": {reason}" if reason else "")
                )
            )
            self._detach(lane, "closed")

    def _add(self, lane: Lane) -> None:
        self._lanes[lane.lane_id] = self._to[lane.partition_id][lane.lane_id] = lane


def _check_terms(wanted: OpenLane) -> None:
    """Raise InvalidRequestError for numbers that no lane can be made with."""
    limits = (
        ("producer_id", wanted.producer_id, -1, LONG_MAX),
        ("producer_epoch", wanted.producer_epoch, -1, PRODUCER_EPOCH_MAX),
        ("linger_us", wanted.linger_us, 0, LONG_MAX),
        ("lane_bytes", wanted.lane_bytes or 0, 0, LANE_BYTES_MAX),
        ("compression_level", wanted.compression_level, LEVEL_MIN, LEVEL_MAX),
    )
    for name, number, low, high in limits:
        if not low <= number <= high:
            raise InvalidRequestError(f"OpenLane.{name} must be from {low} to {high}, not {number}")
