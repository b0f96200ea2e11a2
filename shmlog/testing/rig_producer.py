"""A producer at a partition without processes: its supervisor is the rig, and nothing happens by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shmlog.client.loop_bell import LoopBells
from shmlog.client.producer import NativeProducer
from shmlog.control.messages import (
    CheckCompression,
    CloseLane,
    DescribeTopics,
    Done,
    InitProducerId,
    LaneGranted,
    OpenLane,
    PartitionDescription,
    ProducerIdGranted,
    TopicDescription,
    TopicsDescribed,
)
from shmlog.machines.producer_id import check_producer_id, producer_id_of
from shmlog.memory import names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.native.doorbell import Doorbell
from shmlog.native.lane import LaneWriter
from shmlog.record.compression import codec_named
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.waiting import await_until

IMPATIENT_MS = 200
"""The delivery.timeout.ms of a producer whose time is to be over in a test."""

PARTITION = PartitionDescription(0, 1, 0, "running", 1, "", "", "")


class Answered:
    """A question to the rig, which answered at once."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    def answer(self, expected: Any) -> Any:
        return self._answer()

    def wait(self, expected: Any, timeout_s: float) -> Any:
        return self._answer()


class RigConnection:
    """A connection whose supervisor is the rig. `interrupt`: the next OpenLane is answered by this exception."""

    def __init__(self, rig: Rig) -> None:
        name = names.client(rig.tag, 1)
        create_client_region(name, client_id=1, mode=0o600)
        self.region = ClientRegion.open(name)
        self.tag = rig.tag
        self.registered_as = 1  # what the supervisor has it for: another after it was registered anew
        self.rig = rig
        self.epochs = 0
        self.interrupt: BaseException | None = None
        self.lanes_opened = 0
        self.lanes_to_lose = 0  # so many grants are of lanes whose memory is gone at once
        self.partitions = 1  # of the topic; all of them are the rig's
        self.lane_bytes: int | None = None  # of the next lanes, whatever the producer asks for
        self.refuses_growth: Exception | None = None  # what a lane that is asked for without waiting is refused with
        self.growth_refused = 0
        self.loop_bells = LoopBells(self)  # type: ignore[arg-type]  # the doorbell is there
        self.while_asleep: Callable[[], object] = lambda: None  # what others do whenever the producer is about to sleep

    @property
    def doorbell(self) -> Doorbell | None:
        self.while_asleep()
        return self.region.doorbell

    def look(self) -> None:
        pass

    def nudge(self) -> None:
        pass

    def ask(self, message: Any) -> Answered | None:
        if self.refuses_growth is not None:
            refusal = self.refuses_growth

            def refuse() -> None:
                self.growth_refused += 1
                raise refusal

            return Answered(refuse)
        answer = self.request(message, None)
        return Answered(lambda: answer)

    def tell(self, message: Any) -> None:
        self.request(message, None)

    def request(self, message: Any, expected: Any, timeout_s: float = 0.0) -> Any:
        match message:
            case DescribeTopics():
                return TopicsDescribed(
                    0, [TopicDescription(TOPIC_NAME, "", False, {}, self.rig.config, [PARTITION] * self.partitions)]
                )
            case InitProducerId(producer_id=None):
                return ProducerIdGranted(0, producer_id_of(self.registered_as, 7), 0)
            case InitProducerId(producer_id=int(producer_id), epoch=epoch):
                check_producer_id(producer_id, self.registered_as)
                return ProducerIdGranted(0, producer_id, (epoch or 0) + 1)
            case CheckCompression():
                return Done(0)
            case OpenLane(producer_id=producer_id, producer_epoch=epoch, linger_us=linger_us, lane_bytes=lane_bytes):
                check_producer_id(producer_id, self.registered_as)
                if self.interrupt is not None:
                    interrupt, self.interrupt = self.interrupt, None
                    raise interrupt
                lane_bytes = self.lane_bytes or lane_bytes
                lane_id = self.rig.make_lane(
                    producer_id=producer_id,
                    epoch=epoch,
                    linger_us=linger_us,
                    lane_bytes=lane_bytes,
                    codec=codec_named(message.compression_type),
                )
                self.lanes_opened += 1
                if self.lanes_to_lose:
                    self.lanes_to_lose -= 1
                    region.unlink(names.lane(self.rig.tag, lane_id))
                terms, name = self.rig.terms(lane_id), names.lane(self.rig.tag, lane_id)
                return LaneGranted(0, lane_id, name, terms.data_bytes, terms.max_batch_bytes, PARTITION)
            case CloseLane(lane_id=lane_id):
                self.rig.close_lane(lane_id)
                return Done(0)
        raise AssertionError(message)


def producer_of(connection: RigConnection, **settings: object) -> NativeProducer:
    """A producer that has time: a disk that stands still for a moment is no reason to give up."""
    return NativeProducer(connection, {"delivery_timeout_ms": 20_000, **settings})  # type: ignore[arg-type]  # a fake


def lane_of(producer: NativeProducer) -> LaneWriter:
    """The producer's lane to the rig's partition, as it is now."""
    lane = producer.topics[TOPIC_NAME].lanes[0]
    assert lane is not None
    return lane


def somebody_sleeps(connection: RigConnection) -> bool:
    """Ring, as owners do after they have published; whether somebody slept."""
    assert connection.region.doorbell is not None
    return connection.region.doorbell.ring()


def publish(rig: Rig, connection: RigConnection) -> None:
    """The owner takes and publishes what is there, and rings."""
    rig.run()
    somebody_sleeps(connection)


async def asleep(connection: RigConnection) -> None:
    """Wait until somebody sleeps, and ring."""
    await await_until(lambda: somebody_sleeps(connection))
