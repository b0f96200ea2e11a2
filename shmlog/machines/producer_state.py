"""Idempotence: what a partition remembers of each producer, by Kafka's rules, and whom it forgets.

Kafka forgets producers by the clock (producer.id.expiration.ms). Here they are forgotten when there are too many: the
partition remembers PRODUCERS_REMEMBERED_MAX, those that have a lane, and of the others those that wrote last. As a
partition has no more lanes than that, nobody with a lane is ever forgotten; and who has none has nothing on its way
that could come a second time, because a lane is drained and its results are told before it goes.

The reference for the owner's compiled version: tests run both on the same batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from shmlog.limits import PRODUCERS_REMEMBERED_MAX

SEQUENCE_MAX = 2**31 - 1
BATCHES_REMEMBERED = 5


def sequence_after(sequence: int, count: int) -> int:
    """The sequence number `count` records later; after 2147483647 comes 0."""
    return (sequence + count) % (SEQUENCE_MAX + 1)


@dataclass(frozen=True, slots=True)
class ProducerBatch:
    """A batch as its producer sent it. Sequences count its records in this partition since its epoch began."""

    producer_id: int
    epoch: int
    base_sequence: int
    count: int

    @property
    def last_sequence(self) -> int:
        return sequence_after(self.base_sequence, self.count - 1)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A batch in the log. `last_sequence` may be smaller than its first when the sequence wrapped."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp_ms: int

    @property
    def base_offset(self) -> int:
        return self.last_offset - self.offset_delta

    @property
    def base_sequence(self) -> int:
        return sequence_after(self.last_sequence, -self.offset_delta)


@dataclass(slots=True)
class ProducerEntry:
    """One producer's state; `batches` oldest first, at most BATCHES_REMEMBERED."""

    producer_id: int
    epoch: int
    batches: list[Remembered]


@dataclass(frozen=True, slots=True)
class Append:
    """Verdict: new and in order."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Verdict: it is in the log already, from `base_offset` on; answer with that and append nothing."""

    base_offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """Verdict: a newer epoch of this producer has written."""

    current_epoch: int


@dataclass(frozen=True, slots=True)
class OutOfOrder:
    """Verdict: records before it are missing, or it is older than what is remembered."""

    expected_sequence: int


Verdict = Append | Duplicate | Fenced | OutOfOrder


class ProducerStateMachine:
    """check() judges and changes nothing; replay() takes in a batch that is in the log."""

    def __init__(self, entries: Iterable[ProducerEntry] = ()) -> None:
        self._entries = {entry.producer_id: entry for entry in entries}
        self._lanes: Counter[int] = Counter()

    def hold(self, producer_id: int) -> None:
        """The producer has a lane, or one more: it is not forgotten until release() was called as often."""
        self._lanes[producer_id] += 1

    def release(self, producer_id: int) -> None:
        """One of its lanes is gone."""
        self._lanes[producer_id] -= 1

    def check(self, batch: ProducerBatch) -> Verdict:
        """What is to be done with `batch`."""
        entry = self._entries.get(batch.producer_id)
        if entry is None:
            return Append()  # nothing is known, or it has expired: Kafka takes any sequence
        if batch.epoch < entry.epoch:
            return Fenced(entry.epoch)
        if batch.epoch > entry.epoch:
            return Append() if batch.base_sequence == 0 else OutOfOrder(0)
        for known in entry.batches:
            if (known.base_sequence, known.last_sequence) == (batch.base_sequence, batch.last_sequence):
                return Duplicate(known.base_offset, known.timestamp_ms)
        expected = sequence_after(entry.batches[-1].last_sequence, 1)
        return Append() if batch.base_sequence == expected else OutOfOrder(expected)

    def replay(self, batch: ProducerBatch, base_offset: int, timestamp_ms: int) -> None:
        """`batch` stands in the log at `base_offset`; `timestamp_ms` is its largest."""
        entry = self._entries.get(batch.producer_id)
        if entry is None and not self._make_room():
            return
        if entry is None or entry.epoch != batch.epoch:
            entry = self._entries[batch.producer_id] = ProducerEntry(batch.producer_id, batch.epoch, [])
        delta = batch.count - 1
        entry.batches.append(Remembered(batch.last_sequence, base_offset + delta, delta, timestamp_ms))
        del entry.batches[:-BATCHES_REMEMBERED]

    def _make_room(self) -> bool:
        """For one more producer; False if all have lanes, so that the one more, which replay() found in the log, has
        none."""
        if len(self._entries) < PRODUCERS_REMEMBERED_MAX:
            return True
        idle = [entry for entry in self._entries.values() if not self._lanes[entry.producer_id]]
        if idle:
            del self._entries[min(idle, key=lambda entry: entry.batches[-1].last_offset).producer_id]
        return bool(idle)

    def entries(self) -> list[ProducerEntry]:
        """Everything remembered, by producer id: what a snapshot holds."""
        return [self._entries[producer_id] for producer_id in sorted(self._entries)]
