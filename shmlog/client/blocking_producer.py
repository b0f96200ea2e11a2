"""A producer for threads: what happens around the compiled send path (native/send), rarely.

Opening lanes, waiting for room and for acknowledgements. Several threads may use one producer: the compiled path runs
under the GIL, the rest here under a lock.
"""

from __future__ import annotations

import copyreg
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from random import getrandbits
from typing import Final, NoReturn

from shmlog import arguments, settings
from shmlog.client.connection import Connection
from shmlog.client.handle import ClosableHandle
from shmlog.client.kafka_names import ProducerNames
from shmlog.client.lane_succession import LaneSuccession
from shmlog.client.lanes import LaneOpener
from shmlog.client.serialization import serializer, to_bytes
from shmlog.client.sleeper import Sleeper
from shmlog.clock import wall_ms
from shmlog.errors import (
    DeliveryTimeoutError,
    InvalidArgumentError,
    InvalidRecordError,
    InvalidTimestampError,
    PollTimeoutError,
    ShmlogError,
)
from shmlog.native.delivery import FAILED, PENDING, BatchResult, Deliveries, Delivery
from shmlog.native.lane import LaneWriter
from shmlog.native.send import SendPath
from shmlog.native.topic_lanes import TopicLanes

NEVER: Final = float("inf")

_log = logging.getLogger("shmlog.producer")


class BlockingProducer(SendPath, ProducerNames, ClosableHandle, ABC):
    """The half of NativeProducer that threads use. Its waits may be interrupted, and go on with the next call."""

    def __init__(self, connection: Connection, given: Mapping[str, object]) -> None:
        config = settings.parse("producer", given)
        partitioner = config["partitioner"]
        key, value = serializer(config["key.serializer"]), serializer(config["value.serializer"])
        ClosableHandle.__init__(self, "producer")
        SendPath.__init__(
            self,
            connection.region.mapping,
            key_to_bytes=partial(to_bytes, function=key, what="key"),
            value_to_bytes=partial(to_bytes, function=value, what="value"),
            serializes_keys=key is not None,
            serializes_values=value is not None,
            partitioner=partitioner if callable(partitioner) else None,
            batch_size=config["batch.size"],
            seed=getrandbits(63),
        )
        self._connection = connection
        self._opener = LaneOpener(connection, config, self, self.completed)
        self._delivery_timeout_s: float = config["delivery.timeout.ms"] / 1000.0
        self._sleeper = Sleeper(connection)
        self._succession = LaneSuccession(self.topics, self._opener, self._sleeper, self._delivery_timeout_s)
        self._expired_batches = 0
        self._failed_callbacks = 0

    # --- hooks of the compiled path -----------------------------------------------------------------------------------

    def _open_topic(self, topic: str) -> TopicLanes:
        with self._succession.lock:
            lanes = self.topics.get(topic)
            if lanes is None:
                count, terms = self._opener.describe(arguments.text(topic, "topic"))
                lanes = self.topics[topic] = TopicLanes(topic, count, terms, wall_ms())
            return lanes

    def _refresh(self, lanes: TopicLanes) -> None:
        count, terms = self._opener.describe(lanes.topic)
        lanes.hear(count, terms, wall_ms())

    def _permit(self, lanes: TopicLanes, timestamp_ms: int, has_key: bool) -> None:
        """Raise if the topic refuses such a record, also by its settings of now: they may have been changed."""
        try:
            lanes.terms.check(timestamp_ms, has_key, wall_ms())
        except (InvalidRecordError, InvalidTimestampError):
            self._refresh(lanes)
            lanes.terms.check(timestamp_ms, has_key, wall_ms())

    def _open_lane(self, lanes: TopicLanes, partition: int) -> LaneWriter:
        with self._succession.lock:
            lane = lanes.lanes[partition]
            if lane is None:
                lane = lanes.lanes[partition] = self._opener.open(lanes.topic, partition)
            return lane

    def _wait_for_room(self, lane: LaneWriter, free: int, deadline_ns: int) -> int:
        """Wait until the lane has room that it had not when its `free` was that, whichever thread reclaimed it; returns
        the deadline to pass in the next time."""
        deadline_ns = deadline_ns or time.monotonic_ns() + int(self._delivery_timeout_s * 1e9)
        if self._succession.enlarge(lane):
            return deadline_ns

        def has_changed() -> bool:
            lanes = self.topics.get(lane.topic)
            if lanes is None or lanes.lanes[lane.partition] is not lane:
                return True
            lane.reclaim()
            return lane.free != free or lane.attention or self._opener.is_deleted(lane)

        if not self._sleeper.until(has_changed, deadline_ns / 1e9):
            raise self._opener.timeout(
                lane.topic,
                lane.partition,
                f"no room for a record to {lane.topic}-{lane.partition} for {self._delivery_timeout_s:g} s"
                f" (delivery.timeout.ms): it was not sent. {lane.pending} batches before it wait for their"
                f" acknowledgement{self._opener.reason(lane)}",
            )
        if self._opener.is_deleted(lane):
            self._attend(lane)
        return deadline_ns

    def _attend(self, lane: LaneWriter) -> LaneWriter:
        return self._succession.attend(lane)

    def _hand_over(self, lane: LaneWriter, batch: BatchResult) -> None:
        """Attend to a lane that wanted it just when a record was accepted, in `batch`. Until the record is in a lane
        that an owner reads, send() must not return; but nothing can take it back any more."""
        try:
            self._attend(lane)
        except ShmlogError as error:
            if batch.status == FAILED:
                raise
            if batch.status == PENDING:
                raise type(error)(
                    f"{error}. The record of this call was accepted before that and may still be delivered, by the next"
                    " call of this producer: sending it again could double it"
                ) from error

    # --- waiting ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def _settled(self, batch: BatchResult) -> None:
        """`await delivery` waits here until the batch is settled."""

    def _await_batch(self, batch: BatchResult, timeout: float | None) -> None:
        """Delivery.result() waits here until the batch is settled."""
        self.check_usable()
        timeout = arguments.seconds(timeout)
        deadline = NEVER if timeout is None else time.monotonic() + timeout
        done = partial(self._settle_until, lambda: batch.status != PENDING, given_up=[])
        expiry = self._expiry_s(batch)
        if not self._sleeper.until(done, min(deadline, expiry)):
            if time.monotonic() >= expiry:
                self._expire(batch)
            else:
                raise PollTimeoutError(
                    f"a record to {batch.topic}-{batch.partition} has no acknowledgement after {timeout:g} s; it was"
                    f" accepted and is on its way: ask again{self._opener.shortage(batch.topic, batch.partition)}"
                )
        if self.completed:
            self._run_callbacks()

    def _settle_until(self, condition: Callable[[], bool], given_up: list[ShmlogError]) -> bool:
        self._succession.settle(given_up)
        return condition()

    def _expiry_s(self, batch: BatchResult) -> float:
        """When delivery.timeout.ms is over, on the monotonic clock."""
        return batch.opened_ns / 1e9 + self._delivery_timeout_s

    def _expire(self, batch: BatchResult) -> None:
        batch.fail(
            self._opener.timeout(
                batch.topic,
                batch.partition,
                f"{batch.count} records to {batch.topic}-{batch.partition} were accepted but had no acknowledgement for"
                f" {self._delivery_timeout_s:g} s (delivery.timeout.ms): their outcome is unknown, they may still be"
                " delivered",
            )
        )
        self._expired_batches += 1

    def _run_callbacks(self) -> None:
        """Call what users gave as on_delivery. Whoever happens to be here sent other records: errors are logged."""
        while self.completed:
            try:
                batch = self.completed.pop(0)
            except IndexError:  # another thread took it
                return
            callbacks = _take_callbacks(batch)
            for position, (delivery, callback) in enumerate(callbacks):
                try:
                    callback(delivery)
                except Exception:  # noqa: BLE001  # whatever a user's function raises
                    self._failed_callbacks += 1
                    place, outcome = f"{batch.topic}-{batch.partition}", delivery.error or "delivered"
                    _log.exception("on_delivery of a record to %s failed; the record: %s", place, outcome)
                except BaseException:  # Ctrl-C: the others have their turn later
                    batch.callbacks = callbacks[position + 1 :] + _take_callbacks(batch)
                    self.completed.insert(0, batch)
                    raise

    # --- what users call ----------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record sent so far is settled. Raises PollTimeoutError if some are not after `timeout`,
        UnknownTopicOrPartitionError if some were to a topic that was deleted."""
        seconds = self._begin_flush(timeout)
        deadline = time.monotonic() + (self._delivery_timeout_s if seconds is None else seconds)
        self._finish_flush(seconds, deadline, [])

    def _begin_flush(self, timeout: float | None) -> float | None:
        """Have the owners take all batches without lingering; returns `timeout`, checked."""
        self.check_usable()
        seconds = arguments.seconds(timeout)
        with self._succession.lock:
            for lane in self._succession.pending():
                lane.seal()
        return seconds

    def _finish_flush(self, timeout: float | None, deadline: float, given_up: list[ShmlogError]) -> None:
        """Wait for what is pending. `given_up` gets the errors of topics that are gone, also over several calls."""
        pending = self._succession.pending
        settled = self._sleeper.until(partial(self._settle_until, lambda: not pending(), given_up), deadline)
        self._run_callbacks()
        if given_up:
            raise given_up[0]
        if settled:
            return
        batches = sum(lane.pending for lane in pending())
        if timeout is not None:
            short = next((why for lane in pending() if (why := self._opener.shortage(lane.topic, lane.partition))), "")
            raise PollTimeoutError(
                f"{batches} batches have no acknowledgement after {timeout:g} s; they were accepted{short}"
            )
        late = (
            f"{batches} batches have no acknowledgement after {self._delivery_timeout_s:g} s (delivery.timeout.ms):"
            " they were accepted, their outcome is unknown"
        )
        errors = [self._opener.timeout(lane.topic, lane.partition, late) for lane in pending()]
        raise next((error for error in errors if type(error) is not DeliveryTimeoutError), DeliveryTimeoutError(late))

    def metrics(self) -> dict[str, int | float]:
        """Counts since the producer was made: records, bytes (encoded) and batches sent, pending and failed; lanes."""
        self.check_usable()
        counts = self._succession.counts()
        failed = counts["failed_batches"] + self._expired_batches
        return {**counts, "failed_batches": failed, "failed_callbacks": self._failed_callbacks}

    def close(self, timeout: float | None = None) -> None:
        """Flush and let go. What was accepted is delivered in any case, also when the flush does not finish in time."""
        if self._closed or self.inherited:
            return
        timeout = arguments.seconds(timeout)
        self.shut = True
        try:
            self.flush(timeout)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._closed = True
        self._succession.close()
        self._connection.nudge()


def _take_callbacks(batch: BatchResult) -> list[tuple[Delivery, Callable[[Delivery], None]]]:
    callbacks, batch.callbacks = batch.callbacks or [], None
    return callbacks


def _stays_here(delivery: Delivery | Deliveries) -> NoReturn:
    raise InvalidArgumentError(
        "a delivery cannot be pickled or copied: it is settled in the process that sent the record, by its producer;"
        " pass on what its result() returns"
    )


copyreg.pickle(Delivery, _stays_here)
copyreg.pickle(Deliveries, _stays_here)
