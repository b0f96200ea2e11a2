"""One consumer process of the demo, in the group with the others: reads what it is given, keeps the journals of its
partitions, and works out the delays per carrier."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import orjson

import shmlog
from shmlog import TopicPartition
from shmlog.cli.demo import delays
from shmlog.cli.demo.journal import Journal, Piece
from shmlog.cli.demo.tally import Tally
from shmlog.testing.worker_process import hear, say, serve

GROUP = "demo"
POLL_RECORDS_MAX = 2000
POLL_TIMEOUT_S = 0.1


class Reading:
    """What one consumer reads now."""

    def __init__(self, journals: Path, *, with_table: bool) -> None:
        self.gaps: list[str] = []
        self.read = 0
        self.last_ns = 0
        self._directory = journals
        self._with_table = with_table
        self._due: dict[int, int] = {}
        self._journals: dict[int, Journal] = {}

    def take_up(self, consumer: shmlog.Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Go on where the group has committed."""
        for place in partitions:
            journal = self._journals[place.partition] = Journal.of(self._directory, place.partition)
            self._due[place.partition] = consumer.position(place)
            journal.take_back(consumer.position(place))

    def take(self, records: list[shmlog.Record]) -> None:
        """Account for what one poll returned; it is committed with the next one."""
        for partition, some in groupby(records, key=lambda record: record.partition):
            self._take_piece(partition, list(some))
        self.read += len(records)
        self.last_ns = time.monotonic_ns()

    def _take_piece(self, partition: int, records: list[shmlog.Record]) -> None:
        due = self._due[partition]
        for record in records:
            if record.offset != due:
                self.gaps.append(f"partition {partition}: offset {record.offset} came where {due} was due")
            due = record.offset + 1
        tally, table, values = Tally(), delays.DelayTable(), [record.value for record in records]
        tally.add([record.key for record in records], values)
        if self._with_table:
            delays.count_flights(table, values)
        self._journals[partition].append(Piece(records[0].offset, due, tally, table))
        self._due[partition] = due


def work() -> None:
    """Attach, say so, join when told to, read until told that all was read; the journals have what came of it."""
    order = orjson.loads(sys.argv[1])
    reading = Reading(Path(order["journals"]), with_table=order["with_table"])
    start = hear()
    assert start is not None
    with shmlog.connect(order["cluster"]) as cluster:
        if order["joins_later"]:
            say(ready=True)
            assert hear() is not None
        with cluster.consumer(
            order["topic"], group_id=GROUP, auto_offset_reset="earliest", on_assign=reading.take_up
        ) as consumer:
            if not order["joins_later"]:
                say(ready=True)
            while hear(0.0) is None:
                reading.take(consumer.poll(max_records=POLL_RECORDS_MAX, timeout=POLL_TIMEOUT_S))
    say(read=reading.read, ended_ns=reading.last_ns, gaps=reading.gaps)


if __name__ == "__main__":
    sys.exit(serve(work))
