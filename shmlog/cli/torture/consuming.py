"""One consumer process of a torture: reads every partition, checks every byte, and notes what it was given.

It is killed at any moment; another process then goes on where the notes end, under the same number.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from shmlog.cli.torture.patience import PATIENCE_S, PAUSE_S, connect_patiently
from shmlog.cli.torture.records import Recipe
from shmlog.errors import ShmlogError
from shmlog.model import TopicPartition
from shmlog.testing.history_file import HistoryFile, positions
from shmlog.testing.worker_process import hear, say, serve

if TYPE_CHECKING:
    from shmlog import Cluster, Consumer, Record

MODULE = "shmlog.cli.torture.consuming"
REPORT_EVERY_S = 0.5
POLL_TIMEOUT_S = 0.1
SLOW_PAUSE_S = 0.3
SLOW_POLL_RECORDS = 2000


class Reading:
    """One consumer's notes and positions."""

    def __init__(self, recipe: Recipe, file: Path) -> None:
        self.recipe = recipe
        self.places = {place: number for number, place in enumerate(recipe.places())}
        found = positions(file)
        self.next_offsets = {place: found.get(number, 0) for place, number in self.places.items()}
        self.notes = HistoryFile(file)
        self.read = 0
        self.troubles: Counter[str] = Counter()

    def attach(self, cluster: Cluster) -> Consumer:
        """A consumer of every partition, at the positions of the notes. An offset that is gone is an error."""
        deadline = time.monotonic() + PATIENCE_S
        consumer = cluster.consumer(auto_offset_reset="none")
        while True:
            try:
                consumer.assign(list(self.places))
                break
            except ShmlogError as error:
                self.bear(error, deadline)
        for place, offset in self.next_offsets.items():
            consumer.seek(place, offset)
        return consumer

    def poll(self, consumer: Consumer, records_max: int) -> None:
        """Note what one poll returns."""
        try:
            records = consumer.poll(max_records=records_max, timeout=POLL_TIMEOUT_S)
        except ShmlogError as error:
            self.bear(error)
            return
        for record in records:
            self.take(record)
        self.notes.write()
        self.read += len(records)

    def take(self, record: Record) -> None:
        place = TopicPartition(record.topic, record.partition)
        identity = self.recipe.identify(record.topic, record.offset, record.key, record.value)
        self.notes.read(identity, self.places[place], record.offset)
        self.next_offsets[place] = record.offset + 1

    def bear(self, error: ShmlogError, deadline: float | None = None) -> None:
        """An error that may pass is counted; any other is what no reader may be answered with."""
        if not error.retriable or (deadline is not None and time.monotonic() > deadline):
            raise error
        self.troubles[type(error).__name__] += 1
        time.sleep(PAUSE_S)

    def has_reached(self, ends: dict[int, int]) -> bool:
        return all(offset >= ends[self.places[place]] for place, offset in self.next_offsets.items())


def work() -> None:
    """Read until the parent has named the ends and they are reached."""
    order = orjson.loads(sys.argv[1])
    reading = Reading(Recipe.of(order["topics"], order["record_bytes_max"]), Path(order["history"]))
    with connect_patiently(order["cluster"]) as cluster, reading.attach(cluster) as consumer:
        say(ready=True)
        ends: dict[int, int] | None = None
        deadline = last_report = 0.0
        while ends is None or not reading.has_reached(ends):
            is_slow = order["slow"] and ends is None
            reading.poll(consumer, SLOW_POLL_RECORDS if is_slow else 500)
            now = time.monotonic()
            message = hear(SLOW_PAUSE_S if is_slow else 0.0)
            if message is not None:
                ends = {int(place): end for place, end in message["ends"].items()}
                deadline = now + message["seconds"]
            if ends is not None and now > deadline:
                left = {
                    str(place): ends[number] - reading.next_offsets[place] for place, number in reading.places.items()
                }
                raise TimeoutError(f"consumer {order['number']} does not get to the end, it lacks {left}")
            if now - last_report >= REPORT_EVERY_S:
                last_report = now
                say(read=reading.read)
    reading.notes.close()
    say(done=True, read=reading.read, troubles=dict(reading.troubles))


if __name__ == "__main__":
    sys.exit(serve(work))
