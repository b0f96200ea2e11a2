"""Opening and closing a producer's lanes: producer id, sequence numbers, grants.

A lane begins small, with room for a few usual batches. For one that is full a larger one is asked for, without waiting
for the answer: meanwhile the small one goes on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shmlog.client.connection import Connection
from shmlog.client.question import Question
from shmlog.client.shortage import Shortage
from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import (
    CheckCompression,
    CloseLane,
    DescribeTopics,
    Done,
    InitProducerId,
    LaneGranted,
    OpenLane,
    ProducerIdGranted,
    TopicsDescribed,
)
from shmlog.errors import (
    BrokerNotAvailableError,
    DeliveryTimeoutError,
    InvalidProducerIdMappingError,
    NoClusterError,
    ShmlogError,
)
from shmlog.limits import LANE_BYTES_FIRST, LANE_GROWTH_PAUSE_S
from shmlog.memory import bell, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import lane_data_bytes, open_lane
from shmlog.memory.layout import OwnerState
from shmlog.native.delivery import BatchResult
from shmlog.native.doorbell import Doorbell
from shmlog.native.lane import LaneWriter
from shmlog.native.mapping import Mapping
from shmlog.record_terms import RecordTerms
from shmlog.settings import TopicConfig

if TYPE_CHECKING:
    from shmlog.native.delivery import Waiter

GRANTS_MAX: Final = 3
"""So often a lane is asked for whose memory is gone when we come to map it."""

SEQUENCE_MASK = 0x7FFFFFFF
"""Sequence numbers go round at 2^31, as Kafka's do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A lane that the supervisor granted to a producer id of some epoch, and what it takes to write to it."""

    lane: LaneGranted
    page: ControlPage
    doorbell: Doorbell
    mapping: Mapping
    producer_id: int
    epoch: int


class LaneOpener:
    """One producer's side of the grants: its id, its epoch, its lanes' places in the sequence."""

    def __init__(
        self,
        connection: Connection,
        config: dict[str, Any],
        waiter: Waiter,
        completed: list[BatchResult],
    ) -> None:
        self._connection = connection
        self._acks: int = config["acks"]
        self._batch_size: int = config["batch.size"]
        self._linger_us: int = config["linger.ms"] * 1000
        self._lane_bytes: int = config["lane.bytes"] or LANE_BYTES_FIRST
        self._max_block_s: float = config["max.block.ms"] / 1000.0
        self._compression_type: str = config["compression.type"]
        self._compression_level: int = config.get(f"compression.{self._compression_type}.level", 0)
        self._idempotent: bool = config["enable.idempotence"]
        self._waiter = waiter
        self._completed = completed
        self._producer_id = -1
        self._epoch = -1
        self._lane_ids: dict[int, tuple[int, int]] = {}  # lane id -> producer id and epoch that it was opened with
        if self._compression_type != "none":  # known now, and not when the first record is sent
            connection.request(CheckCompression(0, self._compression_type), Done, self._max_block_s)
        self._granted: dict[int, Grant] = {}  # by the lane that they shall follow
        self._asked: dict[int, Question] = {}  # likewise
        self._no_growth_before = 0.0
        self._shortage = Shortage(connection)
        self._pages: dict[tuple[str, int], tuple[tuple[int, int] | None, ControlPage, Doorbell]] = {}

    def describe(self, topic: str) -> tuple[int, RecordTerms]:
        """How many partitions a topic has, and what records it takes. Raises UnknownTopicOrPartitionError, with a
        suggestion, if there is no such topic."""
        described = self._connection.request(DescribeTopics(0, [topic]), TopicsDescribed, self._max_block_s).topics[0]
        return len(described.partitions), RecordTerms.of(topic, TopicConfig.from_mapping(described.effective))

    def open(self, topic: str, partition: int, after: LaneWriter | None = None) -> LaneWriter:
        """A lane to a partition; it goes on where the published part of the lane `after` ends, if
        of the same id and epoch. It is the one that larger() got for `after`, if there is one that can be that.

        A cluster that registered this process anew (it was restarted, say) grants another id then. That is safe: lanes
        have successors only when their owner has said what of them is published.
        """
        unpublished = [] if after is None else after.unpublished()
        grant = None if after is None else self._granted.pop(after.lane_id, None)
        if grant is not None and (grant.producer_id, grant.epoch) != (self._producer_id, self._epoch):
            self._drop(grant)
            grant = None
        if grant is None:
            holds = after is not None and unpublished
            grant = self._grant(topic, partition, max(self._lane_bytes, after.data_bytes if after and holds else 0))
        sequence = 0
        if after is not None and self._lane_ids.get(after.lane_id) == (self._producer_id, self._epoch):
            sequence = (after.next_sequence - sum(batch.count for batch in unpublished)) & SEQUENCE_MASK
        self._lane_ids[grant.lane.lane_id] = (self._producer_id, self._epoch)
        return LaneWriter(
            grant.mapping,
            grant.page.mapping,
            grant.doorbell.mapping,
            topic=topic,
            partition=partition,
            lane_id=grant.lane.lane_id,
            max_batch_bytes=grant.lane.max_batch_bytes,
            batch_size=self._batch_size,
            acks=self._acks,
            next_sequence=sequence if self._idempotent else -1,
            waiter=self._waiter,
            completed=self._completed,
        )

    def larger(self, lane: LaneWriter) -> bool:
        """Have a lane granted that can follow the full `lane` and is larger; True once it is there.

        Waits for it only if a record does not fit into `lane` at all, and only then raises what it is refused with.
        """
        whole_bytes = lane_data_bytes(lane.max_batch_bytes)
        if lane.lane_id in self._granted:
            return True
        if lane.data_bytes >= whole_bytes:
            return False
        must = lane.wanted_bytes > lane.data_bytes
        has_id = self._producer_id >= 0 or not self._idempotent
        if not must and (time.monotonic() < self._no_growth_before or not has_id):
            return False
        question = self._asked.pop(lane.lane_id, None)
        try:
            if must:
                grant = self._grant(lane.topic, lane.partition, whole_bytes, question)
            else:
                question = question or self._connection.ask(self._request(lane.topic, lane.partition, whole_bytes))
                granted = None if question is None else question.answer(LaneGranted)
                if question is not None and granted is None:
                    self._asked[lane.lane_id] = question
                if granted is None:
                    return False
                grant = self._map(lane.topic, lane.partition, granted)
        except (ShmlogError, FileNotFoundError):
            if must:
                raise
            self._no_growth_before = time.monotonic() + LANE_GROWTH_PAUSE_S
            return False
        self._granted[lane.lane_id] = grant
        return True

    def _grant(self, topic: str, partition: int, lane_bytes: int, asked: Question | None = None) -> Grant:
        """A new lane and its partition's regions, mapped. A cluster that goes down right after it has granted a lane
        takes the regions away; the next one grants another. `asked`: it was asked for already.
        """
        missing: FileNotFoundError | InvalidProducerIdMappingError | None = None
        for _ in range(GRANTS_MAX):
            self._ensure_id()
            try:
                granted = None
                if asked is not None:
                    question, asked = asked, None
                    with suppress(ChannelClosedError):
                        granted = question.wait(LaneGranted, self._max_block_s)
                if granted is None:
                    request = self._request(topic, partition, lane_bytes)
                    granted = self._connection.request(request, LaneGranted, self._max_block_s)
                return self._map(topic, partition, granted)
            except FileNotFoundError as error:
                missing = error
            except InvalidProducerIdMappingError as error:  # this process was registered anew
                self._producer_id, missing = -1, error
        raise BrokerNotAvailableError(
            f"a lane to {topic}-{partition} was granted {GRANTS_MAX} times, and its shared memory is gone each time"
            f" ({missing}): the cluster is going down, or something removes its regions (see `shmlog doctor`)"
        ) from missing

    def _request(self, topic: str, partition: int, lane_bytes: int) -> OpenLane:
        return OpenLane(
            0,
            topic,
            partition,
            self._producer_id,
            self._epoch,
            self._linger_us,
            lane_bytes,
            self._compression_type,
            self._compression_level,
        )

    def _map(self, topic: str, partition: int, granted: LaneGranted) -> Grant:
        page, doorbell = self._attach(topic, partition, granted.partition.partition_id)
        mapping = open_lane(granted.region, granted.data_bytes)
        return Grant(granted, page, doorbell, mapping, self._producer_id, self._epoch)

    def _drop(self, grant: Grant) -> None:
        grant.mapping.close()
        self._connection.tell(CloseLane(0, grant.lane.lane_id))

    def _ensure_id(self) -> None:
        if self._idempotent and self._producer_id < 0:
            granted = self._connection.request(InitProducerId(0, None, None), ProducerIdGranted, self._max_block_s)
            self._producer_id, self._epoch = granted.producer_id, granted.epoch

    def _attach(self, topic: str, partition: int, partition_id: int) -> tuple[ControlPage, Doorbell]:
        """The partition's control page and bell, mapped; anew where the cluster came back with new ones."""
        tag = self._connection.tag
        identity = region.identity(names.control_page(tag, partition_id))
        known = self._pages.get((topic, partition))
        if known is not None and known[0] == identity:
            return known[1], known[2]
        page, doorbell = ControlPage.open(tag, partition_id), bell.open_bell(tag, partition_id)
        self._pages[topic, partition] = (identity, page, doorbell)
        return page, doorbell

    def raise_epoch(self) -> None:
        """After a refused batch: the same id under a higher epoch, so that nothing of the old one can come after."""
        if not self._idempotent:
            return
        try:
            granted = self._connection.request(
                InitProducerId(0, self._producer_id, self._epoch), ProducerIdGranted, self._max_block_s
            )
        except InvalidProducerIdMappingError:  # this process was registered anew: the next lane asks for another id
            self._producer_id = -1
        else:
            self._producer_id, self._epoch = granted.producer_id, granted.epoch

    def forget(self, lane: LaneWriter) -> None:
        """The lane is gone; nothing comes after it."""
        self._lane_ids.pop(lane.lane_id, None)
        self._asked.pop(lane.lane_id, None)
        unused = self._granted.pop(lane.lane_id, None)
        if unused is not None:
            self._drop(unused)

    def dismiss(self, lane: LaneWriter) -> None:
        """As close(), for a lane that is empty: nobody needs to wait for it."""
        self._connection.tell(CloseLane(0, lane.lane_id))

    def close(self, lane: LaneWriter) -> None:
        """Have the owner detach a lane and the supervisor remove it; waits."""
        with suppress(BrokerNotAvailableError, NoClusterError):  # then it goes when this process does
            self._connection.request(CloseLane(0, lane.lane_id), Done, self._max_block_s)

    def release(self, lane: LaneWriter, *, wait: bool) -> None:
        """The same for a lane that is not needed any more, without making a fuss."""
        self.forget(lane)
        if not wait:
            self._connection.tell(CloseLane(0, lane.lane_id))
            return
        with suppress(ShmlogError):
            self._connection.request(CloseLane(0, lane.lane_id), Done, self._max_block_s)

    def is_deleted(self, lane: LaneWriter) -> bool:
        known = self._pages.get((lane.topic, lane.partition))
        return known is not None and known[1].state == OwnerState.DELETED

    def timeout(self, topic: str, partition: int, what_happened: str) -> DeliveryTimeoutError:
        """The error for `what_happened`: delivery.timeout.ms has passed, perhaps for want of room or of replicas."""
        known = self._pages.get((topic, partition))
        return self._shortage.timeout(topic, partition, None if known is None else known[1], what_happened)

    def shortage(self, topic: str, partition: int) -> str:
        """What is wanted, room on a disk or replicas, in a sentence to end a message with; empty if nothing is."""
        known = self._pages.get((topic, partition))
        said = "" if known is None else self._shortage.sentence(topic, partition, known[1])
        return f". {said}" if said else ""

    def reason(self, lane: LaneWriter) -> str:
        """What the partition's control page says about why nothing moves, to end a message with."""
        known = self._pages.get((lane.topic, lane.partition))
        if known is None:
            return ""
        page = known[1]
        said = f"; the owner says: {page.error_text}" if page.error_text else ""
        age_s = max(0.0, time.monotonic() - page.heartbeat_ns / 1e9)
        return f" (partition {page.state.name}, owner {page.pid}, last seen {age_s:.1f} s ago{said})"
