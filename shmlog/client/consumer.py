"""The native consumer: an application's view of its partitions' readers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from shmlog import arguments, settings
from shmlog.client.async_reading import AsyncReading
from shmlog.client.column_reading import ColumnReading
from shmlog.client.connection import Connection
from shmlog.client.cursor import Cursor, Reset
from shmlog.client.fetcher import Fetcher
from shmlog.client.handle import ClosableHandle
from shmlog.client.kafka_names import ConsumerNames
from shmlog.client.serialization import Deserializer, deserializer, from_bytes
from shmlog.client.subscription import Partitions, Subscription
from shmlog.control.messages import PartitionDescription
from shmlog.errors import (
    HandleClosedError,
    InvalidRequestError,
    LeaderNotAvailableError,
    SerializationError,
    ShmlogError,
)
from shmlog.limits import READ_CHUNK_BYTES
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.records import Record
from shmlog.partition.reader import PartitionReader

INT32_MAX: Final = 2**31 - 1
SEVERAL: Final = "several topics are several arguments, and of single partitions one may assign() some"

OpenReader = Callable[[TopicPartition, PartitionDescription], PartitionReader]


class NativeConsumer(ConsumerNames, ClosableHandle, AsyncReading, ColumnReading):
    """Implements api.Consumer over shared memory. `open_reader` maps a partition; made by NativeCluster.consumer()."""

    def __init__(
        self,
        connection: Connection,
        open_reader: OpenReader,
        topics: Iterable[str],
        given: Mapping[str, object],
    ) -> None:
        config = settings.parse("consumer", given)
        super().__init__("consumer")
        self._connection = connection
        self._open_reader = open_reader
        self._reset: Reset = config["auto.offset.reset"]
        self._timeout_s = config["consumer.timeout.ms"] / 1000 if config["consumer.timeout.ms"] >= 0 else math.inf
        self._max_poll_records: int = config["max.poll.records"]
        self._key: Deserializer | None = deserializer(config["key.deserializer"])
        self._value: Deserializer | None = deserializer(config["value.deserializer"])
        self._fetcher = Fetcher(
            connection,
            max_bytes=min(config["fetch.max.bytes"], READ_CHUNK_BYTES),
            check_crcs=config["check.crcs"],
        )
        self._polls = 0
        self._registrations = connection.registrations
        self._iterator: Iterator[Record] | None = None
        names = [arguments.text(topic, "a topic", hint=SEVERAL) for topic in topics]
        self._subscription = Subscription(connection, names)
        self._follows_topics = bool(self._subscription.topics)
        if self._follows_topics:
            self._take_up(self._subscription.partitions(), start=self._reset)

    # --- records ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Records one by one, at the speed of a list; between two fetches everything else is looked after."""
        self.check_usable()
        return chain.from_iterable(iter(self._next_fetch, None))

    def __next__(self) -> Record:
        if self._iterator is None:
            self._iterator = iter(self)
        try:
            return next(self._iterator)
        except BaseException:
            self._iterator = None
            raise

    def _next_fetch(self) -> Iterable[Record] | None:
        """An iterator over what is read ahead, fetched first if that is nothing; None at consumer_timeout_ms."""
        ahead = self._fetcher.read_ahead
        self._tend()
        if not ahead.count:
            deadline = time.monotonic() + self._timeout_s
            while not self._fetcher.fetch():
                if not self._fetcher.wait(deadline):
                    return None
                self._tend()
        return self._given_out()

    def _given_out(self) -> Iterator[Record]:
        ahead = self._fetcher.read_ahead
        if self._key is None and self._value is None:
            return ahead.iterator
        return map(self._deserialized, ahead.iterator)

    def poll(self, max_records: int | None = None, timeout: float | None = 0.0) -> list[Record]:
        limit, wait_s = self._poll_limits(max_records, timeout)
        self._tend()
        deadline = time.monotonic() + wait_s
        while not (records := self._collect(limit)):
            if not self._fetcher.wait(deadline):
                break
            self._tend()
        return records

    def _poll_limits(self, max_records: int | None, timeout: float | None) -> tuple[int, float]:
        limit = self._max_poll_records
        if max_records is not None:
            limit = arguments.integer(max_records, "max_records", 1, hint="how long to wait is timeout=SECONDS")
        wait_s = arguments.seconds(timeout)
        self._polls += 1
        return limit, math.inf if wait_s is None else wait_s

    def _collect(self, limit: int) -> list[Record]:
        """What is there now. An error waits until the records before it were given out; its position stays."""
        fetcher, ahead = self._fetcher, self._fetcher.read_ahead
        records: list[Record] = []
        try:
            while len(records) < limit and (ahead.count or fetcher.fetch()):
                if self._key is None and self._value is None:
                    records += ahead.take(limit - len(records))
                    continue
                for record in ahead.iterator:
                    records.append(self._deserialized(record))
                    if len(records) == limit:
                        break
        except ShmlogError:
            if not records:
                raise
        cursor = ahead.cursor
        if cursor is not None and records:
            cursor.publish(ahead.position(cursor))
        return records

    def _deserialized(self, record: Record) -> Record:
        where = f"{record.topic}-{record.partition}@{record.offset}"
        try:
            key: Any = from_bytes(record.key, self._key, "key", where)
            value: Any = from_bytes(record.value, self._value, "value", where)
        except SerializationError:
            self._fetcher.read_ahead.rewind(record)
            raise
        return Record(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            key,
            value,
            record.headers,
            record.leader_epoch,
        )

    # --- partitions ---------------------------------------------------------------------------------------------------

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.check_usable()
        wanted = arguments.partitions(partitions)
        subscription = Subscription(self._connection, [partition.topic for partition in wanted])
        chosen = subscription.choose(wanted) if wanted else {}
        self._let_go([partition for partition in self._fetcher.cursors if partition not in chosen])
        self._subscription, self._follows_topics = subscription, False
        self._take_up(chosen, start=self._reset)

    def assignment(self) -> set[TopicPartition]:
        self.check_usable()
        return set(self._fetcher.cursors)

    def _take_up(self, partitions: Partitions, *, start: Reset) -> None:
        """Begin to read those of `partitions` that are new, at `start`."""
        fresh = {key: found for key, found in partitions.items() if key not in self._fetcher.cursors}
        if not fresh:
            return
        self._connection.subscribe(found.partition_id for found in fresh.values())
        for partition, found in fresh.items():
            reader = self._open_reader(partition, found)
            cursor = Cursor(reader, found.partition_id, start=start, reset=self._reset)
            cursor.slot = self._connection.claim_slot(found.partition_id)
            if start != "none" and reader.ready:
                cursor.resolve()
            self._fetcher.add(cursor)

    def _let_go(self, partitions: Iterable[TopicPartition]) -> None:
        cursors = [self._fetcher.remove(partition) for partition in partitions]
        for cursor in cursors:
            if cursor.slot is not None and self._registrations == self._connection.registrations:
                with suppress(HandleClosedError):  # the connection may be closed before us
                    cursor.slot.release()
            cursor.slot = None
            cursor.reader.close()
        if cursors:
            self._connection.unsubscribe(cursor.partition_id for cursor in cursors)

    def _tend(self) -> None:
        """Look after everything that is not records: usable, assigned, new partitions, a cluster that came back."""
        self.check_usable()
        if not self._fetcher.cursors:
            raise InvalidRequestError(
                "this consumer has no partitions: give cluster.consumer() topics, or assign() some"
            )
        partitions = self._subscription.refresh()
        if partitions is not None:
            if self._follows_topics:
                self._take_up(
                    partitions, start="earliest"
                )  # nothing of a new partition was seen, so nothing is skipped
            for cursor in self._fetcher.cursors.values():
                cursor.reader.reattach_if_replaced()
        if self._registrations != self._connection.registrations:
            self._registrations = self._connection.registrations
            for cursor in self._fetcher.cursors.values():
                cursor.slot = self._connection.claim_slot(cursor.partition_id)
                cursor.reader.reattach_if_replaced()

    def _cursor(self, partition: TopicPartition) -> Cursor:
        self.check_usable()
        cursor = self._fetcher.cursors.get(arguments.partition(partition))
        if cursor is None:
            assigned = ", ".join(str(known) for known in sorted(self._fetcher.cursors)[:10]) or "nothing"
            raise InvalidRequestError(f"partition {partition} is not assigned to this consumer, which reads {assigned}")
        return cursor

    def _cursors(self, partitions: Iterable[TopicPartition]) -> list[Cursor]:
        """Those of `partitions`; all if there are none."""
        return [self._cursor(partition) for partition in partitions] or list(self._fetcher.cursors.values())

    # --- positions ----------------------------------------------------------------------------------------------------

    def position(self, partition: TopicPartition) -> int:
        return self._fetcher.position(self._cursor(partition).partition)

    def seek(self, partition: TopicPartition, offset: int, leader_epoch: int | None = None) -> None:
        cursor = self._cursor(partition)
        offset = arguments.integer(offset, "offset", 0, hint="there are seek_to_beginning() and seek_to_end(), too")
        epoch = -1 if leader_epoch is None else arguments.integer(leader_epoch, "leader_epoch", -1, INT32_MAX)
        self._fetcher.forget(cursor.partition, keep_position=False)
        cursor.seek(offset, epoch)
        cursor.publish(offset)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for cursor in self._cursors(partitions):
            self._fetcher.forget(cursor.partition, keep_position=False)
            cursor.seek_to("earliest")

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        for cursor in self._cursors(partitions):
            self._fetcher.forget(cursor.partition, keep_position=False)
            cursor.seek_to("latest")

    def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        times = {
            self._cursor(partition): arguments.timestamp_ms(time_ms, f"the time for {partition}")
            for partition, time_ms in arguments.mapping(
                times_ms, "times_ms", "a mapping of partitions to times"
            ).items()
        }
        return {cursor.partition: cursor.reader.offset_for_timestamp(time_ms) for cursor, time_ms in times.items()}

    def watermarks(self, partition: TopicPartition) -> Watermarks:
        return self._cursor(partition).reader.watermarks()

    def lag(self) -> dict[TopicPartition, int]:
        """As api.Consumer.lag(); partitions whose owner has not said yet what there is are left out."""
        self.check_usable()
        found: dict[TopicPartition, int] = {}
        for partition, cursor in self._fetcher.cursors.items():
            with suppress(LeaderNotAvailableError):
                found[partition] = max(0, cursor.reader.watermarks().high - self._fetcher.position(partition))
        return found

    # --- the rest -----------------------------------------------------------------------------------------------------

    def pause(self, *partitions: TopicPartition) -> None:
        for cursor in [self._cursor(partition) for partition in partitions]:
            cursor.paused = True
            self._fetcher.forget(cursor.partition, keep_position=True)

    def resume(self, *partitions: TopicPartition) -> None:
        for cursor in [self._cursor(partition) for partition in partitions]:
            cursor.paused = False

    def paused(self) -> set[TopicPartition]:
        self.check_usable()
        return {partition for partition, cursor in self._fetcher.cursors.items() if cursor.paused}

    def metrics(self) -> dict[str, int | float]:
        """`records` counts what was read, given out or not; `ring_chunks` against `segment_chunks` shows who lags."""
        self.check_usable()
        cursors = self._fetcher.cursors.values()
        return {
            "partitions": len(cursors),
            "records": self._fetcher.records,
            "bytes": sum(cursor.reader.bytes_read for cursor in cursors),
            "polls": self._polls,
            "fetches": self._fetcher.fetches,
            "sleeps": self._fetcher.sleeps,
            "ring_chunks": sum(cursor.reader.ring_chunks for cursor in cursors),
            "segment_chunks": sum(cursor.reader.segment_chunks for cursor in cursors),
            "attachments": sum(cursor.reader.attachments for cursor in cursors),
            "offset_resets": sum(cursor.resets for cursor in cursors),
            "lag": sum(self.lag().values()),
        }

    def close(self) -> None:
        if self._closed or self.inherited:
            return
        self._let_go(list(self._fetcher.cursors))
        self._closed = True
        self._connection.nudge()

    def abandon(self) -> None:
        self._fetcher.read_ahead.drop()
