"""Where a consumer stands in its partitions, and where it could."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from typing import Final

from shmlog import arguments
from shmlog.client.cursor import Cursor
from shmlog.client.fetcher import Fetcher
from shmlog.errors import LeaderNotAvailableError
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks

INT32_MAX: Final = 2**31 - 1


class Positions(ABC):
    """The part of NativeConsumer that is about positions."""

    _fetcher: Fetcher

    @abstractmethod
    def check_usable(self) -> None: ...

    @abstractmethod
    def _cursor(self, partition: TopicPartition) -> Cursor:
        """The cursor of an assigned partition."""

    def _cursors(self, partitions: Iterable[TopicPartition]) -> list[Cursor]:
        """Those of `partitions`; all if there are none."""
        return [self._cursor(partition) for partition in partitions] or list(self._fetcher.cursors.values())

    def position(self, partition: TopicPartition) -> int:
        return self._fetcher.position(self._cursor(partition).partition)

    def seek(self, partition: TopicPartition, offset: int, leader_epoch: int | None = None) -> None:
        cursor = self._cursor(partition)
        offset = arguments.integer(offset, "offset", 0, hint="there are seek_to_beginning() and seek_to_end(), too")
        epoch = -1 if leader_epoch is None else arguments.integer(leader_epoch, "leader_epoch", -1, INT32_MAX)
        self._fetcher.forget(cursor.partition, keep_position=False)
        cursor.seek(offset, epoch)
        cursor.publish(offset)
        self._fetcher.touched.add(cursor)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for cursor in self._cursors(partitions):
            self._fetcher.forget(cursor.partition, keep_position=False)
            cursor.seek_to("earliest")
            self._fetcher.touched.add(cursor)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        for cursor in self._cursors(partitions):
            self._fetcher.forget(cursor.partition, keep_position=False)
            cursor.seek_to("latest")
            self._fetcher.touched.add(cursor)

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

    def lag_seconds(self) -> dict[TopicPartition, float]:
        """As api.Consumer.lag_seconds(); partitions whose owner has not said yet what there is are left out."""
        now_ms = time.time() * 1000
        return {
            partition: max(0.0, (now_ms - self._next_timestamp_ms(partition, now_ms)) / 1000) if records else 0.0
            for partition, records in self.lag().items()
        }

    def _next_timestamp_ms(self, partition: TopicPartition, now_ms: float) -> float:
        """Of the next record, read once more beside what is read ahead; now, if it has gone meanwhile."""
        cursor = self._fetcher.cursors[partition]
        with closing(cursor.open_another()) as reader:
            reader.seek(self._fetcher.position(partition))
            found = reader.fetch(1)
        return found[0].timestamp_ms if found else now_ms

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
