"""A partition in one process: its owner's core, a producer's lanes and a reader, without supervisor or threads.

Killing the owner is dropping it where it stands: `take_over` then opens the partition again, over whatever ring, lanes
and files are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shmlog.clock import wall_ms
from shmlog.control.channel import Channel
from shmlog.control.messages import FollowerAt, Message, OwnerReady, OwnerRecovering, OwnerSpec
from shmlog.log.cold import ColdReader
from shmlog.memory import layout, names, region
from shmlog.memory.bell import open_bell
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms, create_lane, lane_data_bytes, open_lane
from shmlog.model import TopicPartition
from shmlog.native import publish
from shmlog.native.delivery import BatchResult
from shmlog.native.lane import LaneWriter
from shmlog.native.mapping import Mapping
from shmlog.native.records import Record
from shmlog.native.send import SendPath
from shmlog.native.topic_lanes import TopicLanes
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.followers import Followers
from shmlog.partition.lane_desk import LaneDesk
from shmlog.partition.log_keeper import LogKeeper
from shmlog.partition.opening import open_partition
from shmlog.partition.reader import PartitionReader
from shmlog.partition.regeneration import grow_ring
from shmlog.record_terms import RecordTerms
from shmlog.setting import LONG_MAX
from shmlog.setting_tables import TOPIC
from shmlog.settings import as_text

TOPIC_NAME = "flights"
PARTITION_ID = 1
RUN_NS = 1_000_000_000
ANY_RECORD = RecordTerms(TOPIC_NAME, LONG_MAX, LONG_MAX, needs_keys=False)
"""A producer that leaves it to the owner to refuse records."""
BATCH_SIZE = 16384


class Rig:
    """One partition with partition id 1 under a tag of its own."""

    def __init__(
        self,
        tag: str,
        directory: Path,
        config: dict[str, str],
        epoch: int,
        in_sync: Sequence[int] = (),
        *,
        replica_id: int = 0,
        replicas: int | None = None,
    ) -> None:
        self.tag = tag
        self.directory = directory
        self.config = {name: as_text(setting.default) for name, setting in TOPIC.items()} | config
        self.lanes_made = 0
        self.in_sync = in_sync
        """Replica ids of the followers that the next owner is told of as in sync."""
        self.replicas = 1 + len(in_sync) if replicas is None else replicas
        """How many the next owner is told that there are."""
        self.reports: list[Message] = []
        """What the owner has said about its followers."""
        self.replica_id = replica_id
        """The replica that the next owner leads from, whose log is in `directory`."""
        self.lives = False
        self.take_over(epoch)

    def let_go(self) -> None:
        """Close the log's files and nothing else, as the kernel does for an owner that was killed."""
        self.opened.log.close(clean=False)
        self.lives = False

    def take_over(self, epoch: int) -> None:
        """Open the partition as its next owner would; the one before is gone without a word."""
        if self.lives:
            self.let_go()
        self.spec = self.spec_for(epoch)
        self.opened = open_partition(self.spec)
        self.lives = True
        self.control, self.publisher = self.opened.control, self.opened.publisher
        self.keeper = LogKeeper(self.control, self.publisher, self.opened.log, self.opened.bell)
        self.keeper.configure(self.opened.config)
        self.desk = LaneDesk(self.control, self.publisher, self.tag, self.opened.largest_batch)
        self.followers = Followers(self.spec, self.opened, self.reports.append)
        self.desk.recover(self.opened.end)
        self.keeper.settle()
        self.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RUN)

    def spec_for(self, epoch: int) -> OwnerSpec:
        """What a supervisor would tell the owner of this partition."""
        return OwnerSpec(
            "cluster",
            "test",
            self.tag,
            "",
            TOPIC_NAME,
            "A" * 22,
            0,
            1,
            epoch,
            str(self.directory),
            self.config,
            0o600,
            None,
            leftovers=True,
            followers=[self.follower_at(replica_id, in_sync=True) for replica_id in self.in_sync],
            replicas=self.replicas,
            replica_id=self.replica_id,
        )

    def follower_at(self, replica_id: int, *, in_sync: bool) -> FollowerAt:
        """What a supervisor would tell the owner of a follower."""
        return FollowerAt(replica_id, names.replica(self.tag, PARTITION_ID, replica_id), in_sync)

    def run(self) -> None:
        """Publish and write until there is nothing to take."""
        before = publish.IDLE
        while (outcome := self.publisher.run(RUN_NS)) != publish.IDLE:
            assert (before, outcome) != (publish.GROW, publish.GROW), "a ring that just grew is too small for a batch"
            before = outcome
            if outcome == publish.ROLL:
                self.keeper.roll()
            elif outcome == publish.SYNC:
                self.keeper.sync()
            elif outcome == publish.GROW:
                ring_bytes = self.desk.ring_bytes_needed(self.opened.config)
                grow_ring(self.spec, ring_bytes, self.control, self.publisher)
            elif outcome == publish.STOPPED:
                continue

    def make_lane(
        self,
        *,
        producer_id: int = 7,
        epoch: int = 0,
        linger_us: int = 0,
        lane_bytes: int | None = None,
        codec: int = 0,
    ) -> int:
        """Make a lane and attach it; its id."""
        self.lanes_made += 1
        max_batch = self.opened.config.max_message_bytes
        terms = LaneTerms(1, producer_id, epoch, max_batch, lane_bytes or lane_data_bytes(max_batch), codec, -1)
        name = names.lane(self.tag, self.lanes_made)
        create_lane(name, lane_id=self.lanes_made, data_bytes=terms.data_bytes, linger_us=linger_us, mode=0o600)
        self.desk.attach(self.lanes_made, terms)
        return self.lanes_made

    def terms(self, lane_id: int) -> LaneTerms:
        """What an attached lane was granted for."""
        return next(lane.terms for lane in self.control.lanes() if lane.lane_id == lane_id)

    def close_lane(self, lane_id: int) -> None:
        """Drain and detach a lane, as an owner does."""
        self.desk.begin_close(lane_id, "closed")
        self.run()
        self.desk.drained()

    def lane_mapping(self, lane_id: int) -> Mapping:
        """A lane as its producer has it mapped: to spoil it."""
        return open_lane(names.lane(self.tag, lane_id), self.terms(lane_id).data_bytes)

    def lane(
        self,
        *,
        acks: int = -1,
        linger_us: int = 0,
        producer_id: int = 7,
        epoch: int = 0,
        sequence: int = 0,
        codec: int = 0,
    ) -> Lane:
        """A lane and a producer that has nothing else."""
        lane_id = self.make_lane(producer_id=producer_id, epoch=epoch, linger_us=linger_us, codec=codec)
        return Lane(self.tag, lane_id, self.terms(lane_id), acks, sequence)

    def attached(self, lane_id: int, *, acks: int = -1, sequence: int = 0) -> Lane:
        """A producer on a lane that was made before."""
        return Lane(self.tag, lane_id, self.terms(lane_id), acks, sequence)

    def reader(self, position: int = 0) -> PartitionReader:
        return PartitionReader(
            TopicPartition(TOPIC_NAME, 0),
            lambda: MappedPartition(self.tag, 1),
            lambda _: ColdReader(str(self.directory)),
            position,
        )

    def read_all(self, position: int = 0) -> list[Record]:
        """Everything that a consumer sees from `position` on."""
        reader, found = self.reader(position), []
        while records := reader.fetch(1 << 20):
            found += records
        reader.close()
        return found

    def values(self) -> list[bytes]:
        """The values of everything that a consumer sees."""
        return [record.value for record in self.read_all()]


def word_of_ready(channel: Channel) -> OwnerReady:
    """What an owner that has just opened its partition said when it was ready."""
    message = channel.receive(1.0)
    while isinstance(message, OwnerRecovering):
        message = channel.receive(1.0)
    assert isinstance(message, OwnerReady)
    return message


class Lane(SendPath):
    """A producer with one lane: send() as users know it. Waits for nobody: what would wait raises."""

    def __init__(
        self, tag: str, lane_id: int, terms: LaneTerms, acks: int, sequence: int, *, partition_id: int = 1
    ) -> None:
        self.tag = tag
        self.mapping = open_lane(names.lane(tag, lane_id), terms.data_bytes)
        self.writer = LaneWriter(
            self.mapping,
            ControlPage.open(tag, partition_id).mapping,
            open_bell(tag, partition_id).mapping,
            topic=TOPIC_NAME,
            partition=0,
            lane_id=lane_id,
            max_batch_bytes=terms.max_batch_bytes,
            batch_size=BATCH_SIZE,
            acks=acks,
            next_sequence=sequence,
            waiter=self,
            completed=[],
        )
        super().__init__(self.mapping, key_to_bytes=bytes, value_to_bytes=_as_it_is, serializes_keys=False,
                         serializes_values=False, batch_size=BATCH_SIZE)  # fmt: skip
        lanes = TopicLanes(TOPIC_NAME, 1, ANY_RECORD, wall_ms())
        lanes.lanes[0] = self.writer
        self.topics[TOPIC_NAME] = lanes

    def send_all(self, *values: bytes) -> None:
        for value in values:
            self.send(TOPIC_NAME, value)

    def _await_batch(self, batch: BatchResult, timeout: float | None) -> None:
        self.writer.reclaim()

    async def _settled(self, batch: BatchResult) -> None:
        self.writer.reclaim()

    def _wait_for_room(self, lane: LaneWriter, free: int, deadline_ns: int) -> int:
        raise LaneFullError

    def _refresh(self, lanes: TopicLanes) -> None:
        lanes.hear(1, ANY_RECORD, wall_ms())

    def _attend(self, lane: LaneWriter) -> LaneWriter:
        raise LaneNeedsAttentionError

    def _hand_over(self, lane: LaneWriter, _: BatchResult) -> None:
        self._attend(lane)

    def _run_callbacks(self) -> None:
        self.completed.clear()


class LaneFullError(Exception):
    pass


class LaneNeedsAttentionError(Exception):
    pass


def _as_it_is(value: bytes | None) -> bytes | None:
    return value


@contextmanager
def open_rig(
    directory: Path, config: dict[str, str] | None = None, *, epoch: int = 0, in_sync: Sequence[int] = ()
) -> Iterator[Rig]:
    """`in_sync`: as Rig.in_sync, from the beginning."""
    tag = names.cluster_tag("rig", str(directory))
    try:
        rig = Rig(tag, directory, config or {}, epoch, in_sync)
        try:
            yield rig
        finally:
            if rig.lives:
                rig.let_go()
    finally:
        region.sweep(tag)
