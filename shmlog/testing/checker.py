"""The judge of a history: which promises of the log were broken, with examples.

Rules (each is tested on a forged history that breaks it alone):
  lost          an acknowledged record that no reader was given (only for a complete history)
  duplicated    one record at two places of the log
  reordered     records of one producer in one partition, hence of one key, not in the order in which they were sent;
                or one key in two partitions, which leaves it without an order
  gaps          offsets of a partition that a reader was not given one after the other, from the first on
  misplaced     an acknowledged record that was read at another place, or two acknowledged at one place
  phantom       a record that was read though nobody intended it, or though its producer was told that it was refused
  disagreeing   one offset under which two readers were given different records
  unread        records at the end of a partition that a reader was not given though it says that it was at the end
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shmlog.testing.history import NO_KEY, SEQUENCE_BITS, SEQUENCE_MAX, History, name_of

RULES = ("lost", "duplicated", "reordered", "gaps", "misplaced", "phantom", "disagreeing", "unread")
EXAMPLES_PER_RULE_MAX = 5

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of broken promises, and sentences for the first few of each."""

    attempts: int
    acks: int
    reads: int
    lost: int
    duplicated: int
    reordered: int
    gaps: int
    misplaced: int
    phantom: int
    disagreeing: int
    unread: int
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing at all was wrong."""
        return not self.broken

    @property
    def broken(self) -> dict[str, int]:
        """The rules that were broken, with how often."""
        return {rule: getattr(self, rule) for rule in RULES if getattr(self, rule)}

    def __str__(self) -> str:
        summary = f"{self.attempts} attempts, {self.acks} acknowledged, {self.reads} read"
        if self.ok:
            return f"exact: {summary}"
        broken = ", ".join(f"{count} {rule}" for rule, count in self.broken.items())
        return "\n  ".join([f"broken: {broken} ({summary})", *self.examples])


def check_history(history: History, *, first_offset: int = 0) -> Verdict:
    """Judge a history. `first_offset` is where every partition's log begins (-1: wherever the readers began)."""
    return _Check(history, first_offset).verdict()


class _Check:
    """The columns of one history as arrays, and one method per rule."""

    def __init__(self, history: History, first_offset: int) -> None:
        self.history = history
        self.first_offset = first_offset
        self.examples: list[str] = []
        self.intended = _column(history.intended_ids)
        self.intended_keys = _column(history.intended_keys)
        self.acked = _column(history.acknowledged_ids)
        self.acked_partitions = _column(history.acknowledged_partitions)
        self.acked_offsets = _column(history.acknowledged_offsets)
        self.refused = _column(history.refused_ids)
        self.readers = _column(history.read_readers)
        self.partitions = _column(history.read_partitions)
        self.offsets = _column(history.read_offsets)
        self.ids = _column(history.read_ids)
        # the log as the readers saw it: each (partition, offset, record) once, in log order
        self.log_partitions, self.log_offsets, self.log_ids = _distinct(self.partitions, self.offsets, self.ids)[0]

    def verdict(self) -> Verdict:
        return Verdict(
            attempts=len(self.intended),
            acks=len(self.acked),
            reads=len(self.ids),
            lost=self.lost(),
            duplicated=self.duplicated(),
            reordered=self.reordered() + self.keys_in_two_partitions(),
            gaps=self.gaps(),
            misplaced=self.misplaced(),
            phantom=self.phantom(),
            disagreeing=self.disagreeing(),
            unread=self.unread(),
            examples=self.examples,
        )

    def lost(self) -> int:
        if not self.history.complete:
            return 0
        missing = np.unique(self.acked[~_is_among(self.acked, self.log_ids)])
        self.note(
            "lost", [f"{name_of(int(i))} was acknowledged and never read" for i in missing[:EXAMPLES_PER_RULE_MAX]]
        )
        return len(missing)

    def duplicated(self) -> int:
        ids, counts = np.unique(self.log_ids, return_counts=True)
        twice = ids[counts > 1]
        self.note(
            "duplicated", [f"{name_of(int(i))} is at {self.places_of(int(i))}" for i in twice[:EXAMPLES_PER_RULE_MAX]]
        )
        return int((counts - 1).sum())

    def reordered(self) -> int:
        """In log order, a producer's sequence numbers within a partition never go back (duplicates apart)."""
        producers = self.log_ids >> SEQUENCE_BITS
        sequences = self.log_ids & SEQUENCE_MAX
        order = _order(self.log_partitions, producers, self.log_offsets)
        same = (np.diff(self.log_partitions[order]) == 0) & (np.diff(producers[order]) == 0)
        back = np.flatnonzero(same & (np.diff(sequences[order]) < 0))
        examples = []
        for at in back[:EXAMPLES_PER_RULE_MAX]:
            earlier, later = order[at], order[at + 1]
            examples.append(
                f"{self.partition(self.log_partitions[earlier])}: {name_of(int(self.log_ids[earlier]))} at offset "
                f"{self.log_offsets[earlier]} comes before sequence {sequences[later]} at {self.log_offsets[later]}"
            )
        self.note("reordered", examples)
        return len(back)

    def keys_in_two_partitions(self) -> int:
        keyed = self.intended_keys != NO_KEY
        if not keyed.any():
            return 0
        order = np.argsort(self.intended[keyed], kind="stable")
        ids, keys = self.intended[keyed][order], self.intended_keys[keyed][order]
        at = np.searchsorted(ids, self.log_ids).clip(0, len(ids) - 1)
        found = ids[at] == self.log_ids
        pairs, _ = _distinct(keys[at[found]], self.log_partitions[found])
        numbers, counts = np.unique(pairs[0], return_counts=True)
        scattered = numbers[counts > 1]
        names = {number: key for key, number in self.history.key_numbers.items()}
        self.note(
            "reordered",
            [
                f"key {names[int(number)]!r} is in {int(counts[numbers == number][0])} partitions"
                for number in scattered[:EXAMPLES_PER_RULE_MAX]
            ],
        )
        return len(scattered)

    def gaps(self) -> int:
        """Each reader is given the offsets of a partition one after the other, in its own order of reading."""
        order = _order(self.readers, self.partitions, np.arange(len(self.offsets)))
        readers, partitions, offsets = self.readers[order], self.partitions[order], self.offsets[order]
        first = np.ones(len(offsets), dtype=bool)
        first[1:] = (np.diff(readers) != 0) | (np.diff(partitions) != 0)
        expected = np.empty_like(offsets)
        expected[1:] = offsets[:-1] + 1
        expected[first] = offsets[first] if self.first_offset < 0 else self.first_offset
        wrong = np.flatnonzero(offsets != expected)
        self.note(
            "gaps",
            [
                f"{self.reader(readers[at])} of {self.partition(partitions[at])} was given offset {offsets[at]},"
                f" not {expected[at]}"
                for at in wrong[:EXAMPLES_PER_RULE_MAX]
            ],
        )
        return len(wrong)

    def misplaced(self) -> int:
        told = self.acked_offsets >= 0
        ids, partitions, offsets = self.acked[told], self.acked_partitions[told], self.acked_offsets[told]
        order = np.argsort(self.log_ids, kind="stable")
        sorted_ids = self.log_ids[order]
        low, high = np.searchsorted(sorted_ids, ids), np.searchsorted(sorted_ids, ids, side="right")
        elsewhere = np.zeros(len(ids), dtype=bool)
        once = high - low == 1  # records at two places are another rule
        place = order[low[once]]
        elsewhere[once] = (self.log_partitions[place] != partitions[once]) | (self.log_offsets[place] != offsets[once])
        wrong = np.flatnonzero(elsewhere)
        self.note(
            "misplaced",
            [
                f"{name_of(int(ids[at]))} was acknowledged at {self.partition(partitions[at])} offset {offsets[at]} "
                f"and read at {self.places_of(int(ids[at]))}"
                for at in wrong[:EXAMPLES_PER_RULE_MAX]
            ],
        )
        acked_places, _ = _distinct(partitions, offsets, ids)
        _, counts = _distinct(acked_places[0], acked_places[1])
        shared = int((counts - 1).sum())
        if shared:
            self.note(
                "misplaced", [f"{shared} records were acknowledged at an offset that another one was acknowledged at"]
            )
        return len(wrong) + shared

    def phantom(self) -> int:
        unknown = np.unique(self.log_ids[~_is_among(self.log_ids, self.intended)])
        revived = np.unique(self.refused[_is_among(self.refused, self.log_ids)])
        self.note(
            "phantom", [f"{name_of(int(i))} was read and nobody sent it" for i in unknown[:EXAMPLES_PER_RULE_MAX]]
        )
        self.note("phantom", [f"{name_of(int(i))} was refused and yet read" for i in revived[:EXAMPLES_PER_RULE_MAX]])
        return len(unknown) + len(revived)

    def disagreeing(self) -> int:
        (partitions, offsets), counts = _distinct(self.log_partitions, self.log_offsets)
        several = np.flatnonzero(counts > 1)
        self.note(
            "disagreeing",
            [
                f"{self.partition(partitions[at])} offset {offsets[at]} holds {counts[at]} different records"
                for at in several[:EXAMPLES_PER_RULE_MAX]
            ],
        )
        return len(several)

    def unread(self) -> int:
        """What lies beyond the end of a reader that has finished; what it skipped before that is a gap."""
        ends: dict[int, int] = {}
        if len(self.log_offsets):
            last = np.flatnonzero(np.append(np.diff(self.log_partitions) != 0, True))  # they are in log order
            ends = {int(self.log_partitions[at]): int(self.log_offsets[at]) + 1 for at in last}
        missing = 0
        sentences = []
        for reader, partition in sorted(self.history.finished):
            mine = self.offsets[(self.readers == reader) & (self.partitions == partition)]
            begin = 0 if self.first_offset < 0 else self.first_offset
            position, end = int(mine[-1]) + 1 if len(mine) else begin, ends.get(partition, 0)
            if position < end:
                missing += end - position
                sentences.append(
                    f"{self.reader(reader)} found the end of {self.partition(partition)} at offset {position}, and"
                    f" others read on to {end}"
                )
        self.note("unread", sentences[:EXAMPLES_PER_RULE_MAX])
        return missing

    def places_of(self, identity: int) -> str:
        at = np.flatnonzero(self.log_ids == identity)
        return ", ".join(f"{self.partition(self.log_partitions[i])} offset {self.log_offsets[i]}" for i in at)

    def partition(self, number: int) -> str:
        return self.history.partition_names.get(int(number), f"partition {number}")

    def reader(self, number: int) -> str:
        return self.history.reader_names.get(int(number), f"reader {number}")

    def note(self, rule: str, sentences: list[str]) -> None:
        self.examples.extend(f"{rule}: {sentence}" for sentence in sentences)


def _column(values: array[int]) -> Int64s:
    return np.array(values, dtype=np.int64)


def _is_among(values: Int64s, others: Int64s) -> npt.NDArray[np.bool_]:
    """For each value whether it occurs in `others`; by bisection, which is fast where values come in order."""
    if not len(others):
        return np.zeros(len(values), dtype=bool)
    ordered = np.sort(others)
    found: npt.NDArray[np.bool_] = ordered[np.searchsorted(ordered, values).clip(0, len(ordered) - 1)] == values
    return found


def _order(*columns: Int64s) -> npt.NDArray[np.intp]:
    """The order that sorts rows by the first column, then the second, ...; cheap where they are in order already."""
    undecided = np.ones(max(0, len(columns[0]) - 1), dtype=bool)
    for column in columns:
        steps = np.diff(column)
        if (undecided & (steps < 0)).any():
            return np.lexsort(columns[::-1])
        undecided &= steps == 0
    return np.arange(len(columns[0]))


def _distinct(*columns: Int64s) -> tuple[list[Int64s], Int64s]:
    """The distinct rows of these columns, sorted by the first, then the second, ...; and how often each occurs."""
    order = _order(*columns)
    ordered = [column[order] for column in columns]
    first = np.ones(len(order), dtype=bool)
    if len(order):
        first[1:] = np.logical_or.reduce([np.diff(column) != 0 for column in ordered])
    starts = np.flatnonzero(first)
    return [column[first] for column in ordered], np.diff(np.append(starts, len(order)))
