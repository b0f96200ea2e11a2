"""The native consumer: an application's view of its partitions' readers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from types import TracebackType
from typing import Any

from shmlog import arguments, settings
from shmlog.client.assigned import Assigned, OpenReader
from shmlog.client.async_reading import AsyncReading
from shmlog.client.column_reading import ColumnReading
from shmlog.client.commits import Commits
from shmlog.client.connection import Connection
from shmlog.client.cursor import Cursor, Reset
from shmlog.client.fetcher import Fetcher
from shmlog.client.group_calls import GroupCalls, refuse_without_group, simple_offsets
from shmlog.client.group_offsets import Steps
from shmlog.client.group_options import GroupOptions, RebalanceCallback, Topics, named_topics, take_callbacks
from shmlog.client.group_reading import GroupReading
from shmlog.client.handle import ClosableHandle
from shmlog.client.kafka_names import ConsumerNames
from shmlog.client.positions import Positions
from shmlog.client.serialization import Deserializer, deserializer, from_bytes
from shmlog.client.subscription import Subscription
from shmlog.errors import (
    InvalidRequestError,
    SerializationError,
    ShmlogError,
)
from shmlog.limits import READ_CHUNK_BYTES
from shmlog.model import OffsetAndMetadata, TopicPartition
from shmlog.native.columns import RecordColumns
from shmlog.native.records import Record


class NativeConsumer(ConsumerNames, ClosableHandle, AsyncReading, ColumnReading, Positions, GroupCalls):
    """Implements api.Consumer over shared memory. `open_reader` maps a partition; made by NativeCluster.consumer()."""

    def __init__(
        self,
        connection: Connection,
        open_reader: OpenReader,
        topics: Sequence[str | Sequence[str]],
        given: Mapping[str, object],
    ) -> None:
        chosen = {name: value for name, value in given.items() if value is not None}
        callbacks = take_callbacks(chosen)
        config = settings.parse("consumer", chosen)
        wanted = Topics.parse(named_topics(topics))
        super().__init__("consumer")
        self._connection = connection
        self._options = GroupOptions.parse(config)
        self._reset: Reset = config["auto.offset.reset"]
        if self._options is not None and not {"auto_offset_reset", "auto.offset.reset"} & chosen.keys():
            self._reset = "latest"
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
        self._iterator: Iterator[Record] | None = None
        self._assigned = Assigned(connection, open_reader, self._fetcher, self._reset)
        self._commits = Commits(self._fetcher, automatic=self._options is not None and self._options.auto_commit)
        self._offsets = simple_offsets(connection, self._options, self._commits)
        self._group: GroupReading | None = None
        self._subscription = Subscription(connection, ())
        self._follows_topics = False
        if self._options is None:
            refuse_without_group(wanted, callbacks)
            self._read_topics(wanted.names)
        elif wanted:
            self._join(self._options, wanted, callbacks)

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
        self._settle(of_poll=False)
        self._tend()
        if not ahead.count:
            deadline = time.monotonic() + self._timeout_s
            while not self._fetcher.fetch():
                if not self._fetcher.wait(deadline):
                    return None
                self._tend()
        return self._given_out()

    def _given_out(self) -> Iterator[Record]:
        records = self._fetcher.read_ahead.iterator
        if self._group is not None or self._commits.automatic:  # what is to be done for a group is done in between
            records = islice(records, self._max_poll_records)
        if self._key is None and self._value is None:
            return records
        return map(self._deserialized, records)

    def poll(self, max_records: int | None = None, timeout: float | None = 0.0) -> list[Record]:
        limit, wait_s = self._poll_limits(max_records, timeout)
        self._settle(of_poll=True)
        return self._poll(limit, wait_s)

    def _poll(self, limit: int, wait_s: float) -> list[Record]:
        self._tend()
        deadline = time.monotonic() + wait_s
        while not (records := self._collect(limit)):
            if not self._fetcher.wait(deadline):
                break
            self._tend()
        self._note_given(records)
        return records

    def _settle(self, *, of_poll: bool) -> None:
        """The application asks for more: it has finished with what it was given."""
        self.check_usable()
        if self._options is not None:
            self._commits.settle(of_poll=of_poll)

    def _note_given(self, records: Sequence[Record] | RecordColumns) -> None:
        if self._group is not None and records:
            self._group.given = records[0], records[-1], len(records)

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
        if self._group is not None:
            raise InvalidRequestError(
                "this consumer is a member of a group, which gives it partitions: unsubscribe() before you assign()"
            )
        subscription = Subscription(self._connection, [partition.topic for partition in wanted])
        chosen = subscription.choose(wanted) if wanted else {}
        fresh = [partition for partition in chosen if partition not in self._fetcher.cursors]
        asks = self._offsets is not None and bool(fresh)
        committed = self.committed(*fresh) if asks else dict[TopicPartition, OffsetAndMetadata | None]()
        self._assigned.let_go([partition for partition in self._fetcher.cursors if partition not in chosen])
        self._subscription, self._follows_topics = subscription, False
        self._assigned.take_up(chosen, start=self._reset)
        for partition, offset in committed.items():
            if offset is not None:
                self._fetcher.cursors[partition].begin_at(offset)

    def _read_topics(self, names: Sequence[str]) -> None:
        subscription = Subscription(self._connection, names)
        chosen = subscription.partitions() if names else {}
        self._assigned.let_go([partition for partition in self._fetcher.cursors if partition not in chosen])
        self._subscription, self._follows_topics = subscription, bool(names)
        self._assigned.take_up(chosen, start=self._reset)

    def assignment(self) -> set[TopicPartition]:
        self.check_usable()
        return set(self._fetcher.cursors)

    def _tend(self) -> None:
        """Look after everything that is not records: usable, assigned, new partitions, a cluster that came back."""
        self.check_usable()
        if self._group is not None:
            self._group.tend(self._call_back)
            self.check_usable()  # a callback may have closed it
        elif not self._fetcher.cursors:
            raise InvalidRequestError(
                "this consumer has no partitions: give cluster.consumer() topics, or assign() some"
            )
        else:
            self._look_after_topics()
        self._assigned.look_after()

    def _look_after_topics(self) -> None:
        if self._offsets is not None and self._commits.automatic:
            self._offsets.commit_now_and_then()
        partitions = self._subscription.refresh()
        if partitions is not None:
            if self._follows_topics:  # nothing of a new partition was seen, so nothing is skipped
                self._assigned.take_up(partitions, start="earliest")
            self._assigned.reattach()

    def _call_back(self, callback: RebalanceCallback, partitions: Sequence[TopicPartition]) -> None:
        callback(self, partitions)

    def _cursor(self, partition: TopicPartition) -> Cursor:
        self.check_usable()
        cursor = self._fetcher.cursors.get(arguments.partition(partition))
        if cursor is None:
            assigned = ", ".join(str(known) for known in sorted(self._fetcher.cursors)[:10]) or "nothing"
            raise InvalidRequestError(f"partition {partition} is not assigned to this consumer, which reads {assigned}")
        return cursor

    # --- the rest -----------------------------------------------------------------------------------------------------

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
        self._run(self._closing())

    async def aclose(self) -> None:
        await self._arun(self._closing())

    def _closing(self) -> Steps[None]:
        if self._closed or self.inherited:
            return
        try:
            if not self._connection.closed:
                self._commits.settle(of_poll=False)
                yield from self._finish()
        finally:
            self._assigned.let_go(list(self._fetcher.cursors))
            self._closed = True
            self._connection.nudge()

    def _finish(self) -> Steps[None]:
        """Commit what is settled, and leave."""
        if self._group is not None:
            yield from self._leave()
        elif self._offsets is not None:
            self._offsets.commit_finished()
            self._offsets.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._give_back_unfinished()
        self.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._give_back_unfinished()
        await self.aclose()

    def _give_back_unfinished(self) -> None:
        """The application has failed over what it was given last: others are to get that again."""
        if not self._closed and not self.inherited:
            self._commits.store_finished()
            self._commits.automatic = False

    def abandon(self) -> None:
        self._fetcher.read_ahead.drop()
        if self._group is not None:
            self._group.membership.abandon()
        if self._offsets is not None:
            self._offsets.close()
