"""The native producer: what happens around the compiled send path (native/send), rarely.

Opening lanes, waiting for room and for acknowledgements, and what to do when a lane was closed or a batch refused.
A lane may be closed by its owner at any time (30 s of silence, a stop, a new ring): what it did not take goes into
another lane, in order. Several threads may use one producer: the compiled path runs under the GIL, the rest here under
a lock.
"""

from __future__ import annotations

import copyreg
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from random import getrandbits
from typing import Final, NoReturn

from shmlog import arguments, settings
from shmlog.client.connection import Connection
from shmlog.client.handle import ClosableHandle
from shmlog.client.kafka_names import ProducerNames
from shmlog.client.lanes import LaneOpener
from shmlog.client.serialization import serializer, to_bytes
from shmlog.clock import wall_ms
from shmlog.errors import (
    DeliveryTimeoutError,
    InvalidArgumentError,
    LaneQuarantinedError,
    PollTimeoutError,
    ShmlogError,
    UnknownTopicOrPartitionError,
)
from shmlog.limits import CLIENT_SLEEP_S, METADATA_MAX_AGE_MS
from shmlog.memory.layout import LaneState
from shmlog.native.delivery import FAILED, PENDING, BatchResult, Delivery
from shmlog.native.lane import LaneWriter
from shmlog.native.send import Deliveries, SendPath, TopicLanes

NEVER: Final = float("inf")

_log = logging.getLogger("shmlog.producer")


class NativeProducer(SendPath, ProducerNames, ClosableHandle):
    """Implements api.Producer over shared memory. Made by cluster.producer()."""

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
        self._opener = LaneOpener(connection, config, self._await_batch, self.completed)
        self._delivery_timeout_s = config["delivery.timeout.ms"] / 1000.0
        self._lock = threading.RLock()
        self._retired: list[LaneWriter] = []  # closed lanes with batches that are published but not acknowledged
        self._successors: dict[LaneWriter, LaneWriter] = {}  # of closed lanes that are being emptied
        self._sent = {"records": 0, "bytes": 0, "batches": 0, "failed_batches": 0}  # by lanes that are gone
        self._expired_batches = 0
        self._failed_callbacks = 0

    # --- hooks of the compiled path -----------------------------------------------------------------------------------

    def _open_topic(self, topic: str) -> TopicLanes:
        with self._lock:
            lanes = self.topics.get(topic)
            if lanes is None:
                count = self._opener.partition_count(arguments.text(topic, "topic"))
                lanes = self.topics[topic] = TopicLanes(topic, count, wall_ms() + METADATA_MAX_AGE_MS)
            return lanes

    def _refresh(self, lanes: TopicLanes) -> None:
        lanes.grow(self._opener.partition_count(lanes.topic), wall_ms() + METADATA_MAX_AGE_MS)

    def _open_lane(self, lanes: TopicLanes, partition: int) -> LaneWriter:
        with self._lock:
            lane = lanes.lanes[partition]
            if lane is None:
                lane = lanes.lanes[partition] = self._opener.open(lanes.topic, partition)
            return lane

    def _wait_for_room(self, lane: LaneWriter, deadline_ns: int) -> int:
        """Wait until the lane has room again; returns the deadline to pass in the next time."""
        deadline_ns = deadline_ns or time.monotonic_ns() + int(self._delivery_timeout_s * 1e9)

        def has_changed() -> bool:
            lanes = self.topics.get(lane.topic)
            if lanes is None or lanes.lanes[lane.partition] is not lane or lane.reclaim() > 0 or lane.attention:
                return True
            return self._opener.is_deleted(lane)

        if not self._sleep_until(has_changed, deadline_ns / 1e9):
            raise DeliveryTimeoutError(
                f"no room for a record to {lane.topic}-{lane.partition} for {self._delivery_timeout_s:g} s"
                f" (delivery.timeout.ms): it was not sent. {lane.pending} batches before it wait for their"
                f" acknowledgement{self._opener.reason(lane)}"
            )
        if self._opener.is_deleted(lane):
            self._attend(lane)
        return deadline_ns

    def _attend(self, lane: LaneWriter) -> LaneWriter:
        """A lane wants attention: bring what it holds into another one, or fail it. Returns the lane to go on with."""
        with self._lock:
            lanes = self.topics.get(lane.topic)
            if lanes is None:
                raise _deleted(lane.topic)  # another thread found out
            current = lanes.lanes[lane.partition]
            if current is not lane and current is not None:
                return current  # another thread was faster
            if lane.state == LaneState.OPEN and not self._opener.is_deleted(lane):
                self._opener.close(lane)  # a batch was refused, and its owner died before it could stop the lane
            deadline = time.monotonic() + self._delivery_timeout_s
            if not self._sleep_until(lambda: self._has_ended(lane) or self._opener.is_deleted(lane), deadline):
                raise DeliveryTimeoutError(
                    f"{lane.topic}-{lane.partition} did not finish closing a lane for {self._delivery_timeout_s:g} s"
                    " (delivery.timeout.ms): the outcome of the records that were sent last is unknown"
                    f"{self._opener.reason(lane)}"
                )
            if self._opener.is_deleted(lane):
                raise self._give_up(lanes)
            successor = lanes.lanes[lane.partition] = self._succeed(lane, deadline)
            self._put_aside(lane)
            return successor

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

    def _has_ended(self, lane: LaneWriter) -> bool:
        return lane.state in (LaneState.CLOSED, LaneState.STOPPED, LaneState.QUARANTINED)

    def _give_up(self, lanes: TopicLanes) -> UnknownTopicOrPartitionError:
        """Let go of a topic that was deleted, with all of its lanes; what they hold fails with the error returned."""
        error = _deleted(lanes.topic)
        retired = [lane for lane in self._retired if lane.topic == lanes.topic]
        self._retired = [lane for lane in self._retired if lane.topic != lanes.topic]
        successors = [successor for lane, successor in self._successors.items() if lane.topic == lanes.topic]
        self._successors = {lane: to for lane, to in self._successors.items() if lane.topic != lanes.topic}
        self.topics.pop(lanes.topic, None)
        for lane in dict.fromkeys([*retired, *lanes.lanes, *successors]):
            if lane is not None:
                lane.reclaim()
                lane.abandon(error)
                self._retire(lane)
        return error

    def _succeed(self, lane: LaneWriter, deadline: float) -> LaneWriter:
        """Open the successor of a lane that is closed, stopped or quarantined, and hand over what was not published.

        Whatever interrupts this (Ctrl-C, `deadline`), the old lane stays in its place with what it still holds, and the
        next call goes on with the same successor.
        """
        lane.reclaim()
        if lane.state == LaneState.QUARANTINED:
            lane.abandon(
                LaneQuarantinedError(
                    f"the owner of {lane.topic}-{lane.partition} found bytes in this lane that make no sense,"
                    f" and {len(lane.unpublished())} batches were not delivered: something in this process wrote to the"
                    " lane's memory"
                )
            )
        successor = self._successors.get(lane)
        if successor is None:
            if lane.state != LaneState.CLOSED:
                self._opener.raise_epoch()
            successor = self._successors[lane] = self._opener.open(lane.topic, lane.partition, after=lane)
        for batch in lane.unpublished():
            while not successor.adopt(lane, batch):
                if not self._sleep_until(partial(self._has_moved, successor), deadline):
                    raise DeliveryTimeoutError(
                        f"no room in the new lane to {lane.topic}-{lane.partition} for what the one before it held, for"
                        f" {self._delivery_timeout_s:g} s (delivery.timeout.ms): {len(lane.unpublished())} batches wait"
                        f" for the next call of this producer{self._opener.reason(successor)}"
                    )
                if self._opener.is_deleted(successor):
                    raise self._give_up(self.topics[lane.topic])
                if self._has_ended(successor):  # what it did not publish comes first
                    ended = successor
                    successor = self._successors[lane] = self._succeed(ended, deadline)
                    self._put_aside(ended)
        return successor

    def _put_aside(self, lane: LaneWriter) -> None:
        """The lane's successor stands in its place: it goes once what it published is acknowledged."""
        del self._successors[lane]
        if lane.state != LaneState.CLOSED:
            self._opener.close(lane)
        if lane.pending:
            self._retired.append(lane)
        else:
            self._retire(lane)

    def _has_moved(self, lane: LaneWriter) -> bool:
        return lane.reclaim() > 0 or self._has_ended(lane) or self._opener.is_deleted(lane)

    def _retire(self, lane: LaneWriter) -> None:
        self._opener.forget(lane)
        for name in self._sent:
            self._sent[name] += getattr(lane, name)
        lane.close()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _sleep_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Sleep on this process's doorbell until `condition()`; False when `deadline` (monotonic seconds) passes."""
        while not condition():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            doorbell = self._connection.doorbell
            ticket = doorbell.prepare()
            try:
                met = condition()
            except BaseException:
                doorbell.cancel()
                raise
            if met:
                doorbell.cancel()
                return True
            doorbell.wait(ticket, min(left_s, CLIENT_SLEEP_S))
            self._connection.look()
        return True

    def _await_batch(self, batch: BatchResult, timeout: float | None) -> None:
        """Delivery.result() waits here until the batch is settled."""
        self.check_usable()
        timeout = arguments.seconds(timeout)
        deadline = NEVER if timeout is None else time.monotonic() + timeout
        done = partial(self._settle_until, lambda: batch.status != PENDING, given_up=[])
        expiry = batch.opened_ns / 1e9 + self._delivery_timeout_s
        if not self._sleep_until(done, min(deadline, expiry)):
            if time.monotonic() >= expiry:
                self._expire(batch)
            else:
                raise PollTimeoutError(
                    f"a record to {batch.topic}-{batch.partition} has no acknowledgement after {timeout:g} s; it was"
                    " accepted and is on its way: ask again"
                )
        if self.completed:
            self._run_callbacks()

    def _settle_until(self, condition: Callable[[], bool], given_up: list[ShmlogError]) -> bool:
        self._settle(given_up)
        return condition()

    def _settle(self, given_up: list[ShmlogError]) -> None:
        """Collect acknowledgements, attend to lanes that need it, add the errors of topics whose records are lost."""
        with self._lock:
            for lanes in list(self.topics.values()):
                for lane in lanes.lanes:
                    if lane is not None:
                        lane.reclaim()
                        if self._opener.is_deleted(lane):
                            held = any(other.topic == lanes.topic for other in self._pending())
                            error = self._give_up(lanes)
                            given_up += [error] if held else []
                            break
                        if lane.attention or (lane.state != LaneState.OPEN and lane.unpublished()):
                            self._attend(lane)
            for lane in list(self._retired):
                lane.reclaim()
                if not lane.pending:
                    self._retired.remove(lane)
                    self._retire(lane)

    def _expire(self, batch: BatchResult) -> None:
        batch.fail(
            DeliveryTimeoutError(
                f"{batch.count} records to {batch.topic}-{batch.partition} were accepted but had no acknowledgement for"
                f" {self._delivery_timeout_s:g} s (delivery.timeout.ms): their outcome is unknown, they may still be"
                " delivered"
            )
        )
        self._expired_batches += 1

    def _pending(self) -> list[LaneWriter]:
        open_lanes = [lane for lanes in self.topics.values() for lane in lanes.lanes if lane is not None]
        return [lane for lane in [*open_lanes, *self._retired] if lane.pending]

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
        self.check_usable()
        timeout = arguments.seconds(timeout)
        with self._lock:
            for lane in self._pending():
                lane.seal()
        deadline = time.monotonic() + (self._delivery_timeout_s if timeout is None else timeout)
        given_up: list[ShmlogError] = []
        settled = self._sleep_until(partial(self._settle_until, lambda: not self._pending(), given_up), deadline)
        self._run_callbacks()
        if given_up:
            raise given_up[0]
        if settled:
            return
        batches = sum(lane.pending for lane in self._pending())
        if timeout is not None:
            raise PollTimeoutError(f"{batches} batches have no acknowledgement after {timeout:g} s; they were accepted")
        raise DeliveryTimeoutError(
            f"{batches} batches have no acknowledgement after {self._delivery_timeout_s:g} s (delivery.timeout.ms):"
            " they were accepted, their outcome is unknown"
        )

    def metrics(self) -> dict[str, int | float]:
        """Counts since the producer was made: records, bytes (encoded) and batches sent, pending and failed; lanes."""
        self.check_usable()
        lanes = [lane for topic in self.topics.values() for lane in topic.lanes if lane is not None] + self._retired
        sent = {name: self._sent[name] + sum(int(getattr(lane, name)) for lane in lanes) for name in self._sent}
        return {
            **sent,
            "pending_batches": sum(lane.pending for lane in lanes),
            "failed_batches": sent["failed_batches"] + self._expired_batches,
            "failed_callbacks": self._failed_callbacks,
            "lanes": len(lanes),
        }

    def close(self, timeout: float | None = None) -> None:
        """Flush and let go. What was accepted is delivered in any case, also when the flush does not finish in time."""
        if self._closed or self.inherited:
            return
        timeout = arguments.seconds(timeout)
        self.shut = True
        try:
            self.flush(timeout)
        finally:
            self._closed = True
            for lane in [lane for topic in self.topics.values() for lane in topic.lanes if lane is not None]:
                self._opener.release(lane)
                lane.close()
            for lane in self._retired:
                lane.close()
            self.topics.clear()


def _deleted(topic: str) -> UnknownTopicOrPartitionError:
    return UnknownTopicOrPartitionError(f"topic {topic!r} was deleted: its last records were not delivered")


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
