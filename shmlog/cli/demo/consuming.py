"""One consumer process of the demo: reads its partitions, keeps the account, and works out the delays per carrier."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson

import shmlog
from shmlog import TopicPartition
from shmlog.cli.demo import delays
from shmlog.cli.demo.tally import Tally
from shmlog.testing.worker_process import hear, say, serve

POLL_RECORDS_MAX = 2000
POLL_TIMEOUT_S = 0.1
STALL_TIMEOUT_S = 30.0
"""When everything was produced, and nothing comes for so long, the rest counts as missing."""


class Reading:
    """What one consumer has read so far."""

    def __init__(self, partitions: list[int], *, with_table: bool) -> None:
        self.next_offsets = dict.fromkeys(partitions, 0)
        self.gaps: list[str] = []
        self.tally = Tally()
        self.table: delays.DelayTable = {}
        self.with_table = with_table
        self.last_ns = 0

    def take(self, records: list[shmlog.Record]) -> None:
        """Account for what one poll returned."""
        next_offsets = self.next_offsets
        for record in records:
            partition, offset = record.partition, record.offset
            if offset != next_offsets[partition]:
                self.gaps.append(f"partition {partition}: offset {offset} came where {next_offsets[partition]} was due")
            next_offsets[partition] = offset + 1
        values = [record.value for record in records]
        self.tally.add([record.key for record in records], values)
        if self.with_table:
            delays.count_flights(self.table, values)
        self.last_ns = time.monotonic_ns()

    def has_reached(self, ends: dict[int, int]) -> bool:
        """Whether every partition was read up to its end."""
        return all(self.next_offsets[partition] >= end for partition, end in ends.items())


def read_all(consumer: shmlog.Consumer, reading: Reading) -> None:
    """Poll until the parent has named the end offsets and they are reached, or nothing comes any more."""
    ends: dict[int, int] | None = None
    quiet_since = time.monotonic()
    while ends is None or not reading.has_reached(ends):
        records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=POLL_TIMEOUT_S)
        if records:
            reading.take(records)
            quiet_since = time.monotonic()
        elif ends is not None and time.monotonic() - quiet_since > STALL_TIMEOUT_S:
            return
        message = hear(0.0)
        if message is not None:
            ends = {int(partition): end for partition, end in message["ends"].items()}
            ends = {partition: end for partition, end in ends.items() if partition in reading.next_offsets}
            quiet_since = time.monotonic()


def work() -> None:
    """Attach, say so, read to the end, leave the account in a file and say the rest."""
    order = orjson.loads(sys.argv[1])
    topic, partitions = order["topic"], order["partitions"]
    start = hear()
    assert start is not None
    with shmlog.connect(order["cluster"]) as cluster, cluster.consumer(auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in partitions])
        reading = Reading(partitions, with_table=order["with_table"])
        reading.take(consumer.poll(max_records=POLL_RECORDS_MAX, timeout=0.0))  # attaches to the rings
        say(ready=True)
        read_all(consumer, reading)
    reading.tally.store(Path(order["account"]))
    say(
        read=len(reading.tally.hashes),
        ended_ns=reading.last_ns,
        gaps=reading.gaps,
        next_offsets={str(partition): offset for partition, offset in reading.next_offsets.items()},
        table=delays.to_message(reading.table),
    )


if __name__ == "__main__":
    sys.exit(serve(work))
