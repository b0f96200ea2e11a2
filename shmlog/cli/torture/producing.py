"""One producer process of a torture: notes what it will send, sends, notes what became of it.

It is killed at any moment; another process then goes on under another number. It never gives up on an error that may
pass: whatever the cluster says meanwhile, the record's outcome is unknown, and the next record is sent.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shmlog.cli.torture.patience import PAUSE_S, connect_patiently
from shmlog.cli.torture.records import Recipe
from shmlog.errors import ShmlogError
from shmlog.model import TopicPartition
from shmlog.testing.history import record_id
from shmlog.testing.history_file import HistoryFile
from shmlog.testing.worker_process import Message, hear, say, serve

if TYPE_CHECKING:
    from shmlog import Delivery, Producer

MODULE = "shmlog.cli.torture.producing"
STYLES: tuple[dict[str, Any], ...] = (
    {"acks": "all"},
    {"acks": "all", "linger_ms": 20},
    {"acks": "1"},
    {"acks": "0", "linger_ms": 200},
)
"""Producers take turns in these; what a profile's [producer] says comes on top."""
BURSTS = (1, 1, 1, 2, 8, 40, 200)
UNSETTLED_MAX = 20_000
REPORT_EVERY_S = 0.5


class Sending:
    """One producer's work and its notes."""

    def __init__(self, producer: Producer, order: Message) -> None:
        self.number: int = order["number"]
        self.recipe = Recipe.of(order["topics"], order["record_bytes_max"])
        self.places = {place: number for number, place in enumerate(self.recipe.places())}
        self.notes = HistoryFile(Path(order["history"]))
        self.producer = producer
        self.many = bool(order["number"] % 3 == 1)
        self.sequence = 0
        self.acks = 0
        self.troubles: Counter[str] = Counter()
        self.pending: deque[tuple[int, Delivery]] = deque()

    def send(self, count: int) -> None:
        """Intend and send the next `count` records."""
        first = record_id(self.number, self.sequence)
        self.sequence += count
        self.notes.intend(first, count)
        for topic, ids in itertools.groupby(range(first, first + count), self.recipe.topic_of):
            self.send_to(topic, list(ids))

    def send_to(self, topic: str, ids: Sequence[int], partition: int | None = None) -> None:
        """Send intended records, in one call or one by one."""
        recipe = self.recipe
        try:
            if self.many:
                values, keys = [recipe.value_of(one) for one in ids], [recipe.key_of(one) for one in ids]
                self.pending.extend(
                    zip(ids, self.producer.send_many(topic, values, keys, partition=partition), strict=True)
                )
                return
            for one in ids:
                delivery = self.producer.send(topic, recipe.value_of(one), recipe.key_of(one), partition=partition)
                self.pending.append((one, delivery))
        except ShmlogError as error:
            self.bear(error)

    def bear(self, error: ShmlogError) -> None:
        """An error that may pass is counted; any other is what nobody may answer an honest producer with."""
        if not error.retriable:
            raise error
        self.troubles[type(error).__name__] += 1
        time.sleep(PAUSE_S)

    def settle(self) -> None:
        """Note the outcomes that are known, from the oldest on; wait for some if too many are not."""
        pending = self.pending
        while pending and (pending[0][1].done or len(pending) > UNSETTLED_MAX):
            identity, delivery = pending[0]
            try:
                found = delivery.result(1.0)
            except ShmlogError as error:
                if not delivery.done:  # not yet
                    self.bear(error)
                    break
                pending.popleft()  # it may be there or not: no outcome
                self.bear(error)
                continue
            pending.popleft()
            self.notes.acknowledge(identity, self.places[TopicPartition(found.topic, found.partition)], found.offset)
            self.acks += 1
        self.notes.write()

    def next_without_key(self, topic: str) -> int:
        """The next id whose record goes to `topic` and has no key, so that any partition will do."""
        while True:
            identity = record_id(self.number, self.sequence)
            self.sequence += 1
            if self.recipe.topic_of(identity) == topic and self.recipe.key_of(identity) is None:
                return identity

    def finish(self, deadline: float) -> None:
        """Get one record through to every partition, and every outcome. Raises TimeoutError naming who is stuck."""
        for place in self.places:
            waiting = len(self.pending)
            while len(self.pending) == waiting:  # under another id each time: who knows what became of the last
                identity = self.next_without_key(place.topic)
                self.notes.intend(identity, 1)
                self.send_to(place.topic, [identity], place.partition)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"producer {self.number} cannot send to {place}: {dict(self.troubles)}")
        while not self.flush() or self.pending:  # also without pending ones: acks=0 tells nothing of what waits
            self.settle()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"producer {self.number} cannot flush, {len(self.pending)} records have no outcome:"
                    f" {dict(self.troubles)}"
                )
        self.settle()

    def flush(self) -> bool:
        """Whether all that was accepted is published and settled; tries for a second."""
        try:
            self.producer.flush(1.0)
        except ShmlogError as error:
            self.bear(error)
            return False
        return True


def work() -> None:
    """Send bursts at the rate that was ordered until the parent says stop."""
    order = orjson.loads(sys.argv[1])
    chance = random.Random(order["seed"])
    with connect_patiently(order["cluster"]) as cluster:
        producer = cluster.producer(**order["settings"])
        sending = Sending(producer, order)
        say(ready=True)
        due = last_report = time.monotonic()
        while (message := hear(max(0.0, due - time.monotonic()))) is None:
            burst = chance.choice(BURSTS)
            sending.send(burst)
            sending.settle()
            due = max(due + burst / order["records_per_second"], time.monotonic() - 1.0)
            if time.monotonic() - last_report >= REPORT_EVERY_S:
                last_report = time.monotonic()
                say(acks=sending.acks)
        sending.finish(time.monotonic() + message["seconds"])
        producer.close(message["seconds"])
    sending.notes.close()
    say(done=True, acks=sending.acks, troubles=dict(sending.troubles))


if __name__ == "__main__":
    sys.exit(serve(work))
