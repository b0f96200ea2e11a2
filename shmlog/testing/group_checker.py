"""The judge of a consumer group's history: every record delivered, progress kept, nobody read what was another's.

Rules (each is tested on a forged history that breaks it alone):
  undelivered   offsets of a partition that no member was given
  skipped       a member was given records that do not follow what it was given before, or begin where it was assigned
  ahead         a member was assigned a partition at an offset that nobody was given the record before of
  repeated      a member was assigned a partition below what was committed before: what a death may cost is what was
                delivered since the last commit, and no more
  premature     a commit of records that the member was not given
  overlapping   a commit that was accepted for a partition, begun after another member had been assigned it
  starved       a member of the last generation that was never given anything
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shmlog.testing.group_history import GroupEvent

RULES = ("undelivered", "skipped", "ahead", "repeated", "premature", "overlapping", "starved")
EXAMPLES_PER_RULE_MAX = 5


@dataclass(slots=True)
class GroupVerdict:
    """How often each rule was broken, and sentences for the first few of each."""

    members: int = 0
    assignments: int = 0
    delivered: int = 0
    """Records, each as often as it was."""
    redelivered: int = 0
    committed: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.broken

    def break_rule(self, rule: str, said: str) -> None:
        self.broken[rule] = self.broken.get(rule, 0) + 1
        if self.broken[rule] <= EXAMPLES_PER_RULE_MAX:
            self.examples.append(f"{rule}: {said}")


@dataclass(slots=True)
class _Reading:
    """One member's reading of one partition, from its assignment on."""

    member: str
    began_ns: int
    start: int
    next_offset: int
    last_ns: int
    is_over: bool = False


def check_group(
    events: Iterable[GroupEvent],
    ends: Mapping[str, int],
    *,
    poll_interval_ns: int,
    last_members: Iterable[str] = (),
    down: Sequence[tuple[int, int]] = (),
) -> GroupVerdict:
    """Judge the history of a group that began at offset 0 of every partition and read to `ends`.

    Of a member that was paused for longer than `poll_interval_ns`, what it stored in its cells late may count or not.
    `last_members`: who was a member at the end, with enough partitions for everybody. `down`: from when to when, on the
    clock of the events, there was no cluster because it was stopped: what a member stores then nobody else knows.
    """
    check = _Check(poll_interval_ns, down)
    for event in sorted(events, key=lambda event: event.at_ns):
        check.take(event)
    check.finish(ends, last_members)
    return check.verdict


class _Check:
    def __init__(self, poll_interval_ns: int, down: Sequence[tuple[int, int]]) -> None:
        self._down = down
        self.verdict = GroupVerdict()
        self._poll_interval_ns = poll_interval_ns
        self._readings: dict[tuple[str, str], _Reading] = {}  # by member and partition
        self._reader: dict[str, str] = {}  # of each partition, who was assigned it last
        self._delivered_to: dict[str, int] = defaultdict(int)  # the highest end, by partition
        self._ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._committed: dict[str, int] = defaultdict(int)
        self._stored: dict[tuple[str, str], tuple[int, int]] = {}  # offset and when, not vouched for yet
        self._intended: dict[tuple[str, str], int] = {}  # when it was about to commit last
        self._seen: dict[str, int] = {}  # when a member was heard of last
        self._fed: set[str] = set()

    def take(self, event: GroupEvent) -> None:
        match event.kind:
            case "assigned":
                self._assigned(event)
            case "delivered":
                self._was_delivered(event)
            case "storing" | "committing":
                self._intended[event.member, event.partition] = event.at_ns
                self._is_premature(event)
            case "stored" if not self._is_down(event):
                self._stored[event.member, event.partition] = event.offset, event.at_ns
            case "committed":
                self._was_committed(event)
            case "revoked":
                self._vouch(event.member)
                self._end(event.member, event.partition)
            case "lost":
                self._lost(event.member)
            case "polled" if not self._is_down(event):
                self._vouch(event.member)
        self._seen[event.member] = event.at_ns

    def _is_down(self, event: GroupEvent) -> bool:
        return any(first <= event.at_ns <= last for first, last in self._down)

    def _assigned(self, event: GroupEvent) -> None:
        verdict, partition = self.verdict, event.partition
        verdict.assignments += 1
        before = self._reader.get(partition)
        if before is not None and before != event.member:
            self._bury(before, partition, event.at_ns)
        where = f"{event.member} was assigned {partition} at {event.offset}"
        if event.offset < self._committed[partition]:
            verdict.break_rule("repeated", f"{where}, and {self._committed[partition]} was committed before")
        if event.offset > self._delivered_to[partition]:
            verdict.break_rule("ahead", f"{where}, and nobody was given more than {self._delivered_to[partition]}")
        self._reader[partition] = event.member
        self._readings[event.member, partition] = _Reading(
            event.member, event.at_ns, event.offset, event.offset, event.at_ns
        )

    def _bury(self, member: str, partition: str, now_ns: int) -> None:
        """A partition has a new reader. What the last one stored counts, unless it may have been fenced for silence."""
        stored = self._stored.pop((member, partition), None)
        reading = self._readings.get((member, partition))
        if stored is None or reading is None or reading.is_over:
            return
        if now_ns - self._seen[member] < self._poll_interval_ns:
            self._committed[partition] = max(self._committed[partition], stored[0])

    def _was_delivered(self, event: GroupEvent) -> None:
        verdict, partition = self.verdict, event.partition
        reading = self._readings.get((event.member, partition))
        if reading is None or reading.is_over or event.offset != reading.next_offset:
            expected = "nothing, it was not its own" if reading is None or reading.is_over else reading.next_offset
            said = f"{event.member} was given {partition} from {event.offset} on, expected was {expected}"
            verdict.break_rule("skipped", said)
        if reading is not None:
            reading.next_offset, reading.last_ns = event.end, event.at_ns
        self._fed.add(event.member)
        verdict.delivered += event.end - event.offset
        verdict.redelivered += max(0, min(event.end, self._delivered_to[partition]) - event.offset)
        self._delivered_to[partition] = max(self._delivered_to[partition], event.end)
        self._ranges[partition].append((event.offset, event.end))

    def _is_premature(self, event: GroupEvent) -> None:
        reading = self._readings.get((event.member, event.partition))
        if reading is None or event.offset > reading.next_offset:
            given = "nothing of it" if reading is None else f"only what is before {reading.next_offset}"
            self.verdict.break_rule(
                "premature", f"{event.member} commits {event.offset} of {event.partition} and was given {given}"
            )

    def _was_committed(self, event: GroupEvent) -> None:
        partition = event.partition
        self.verdict.committed += 1
        reader = self._reader.get(partition, "")
        taken_ns = self._readings[reader, partition].began_ns if reader else 0
        if reader != event.member and self._intended.get((event.member, partition), 0) > taken_ns:
            self.verdict.break_rule(
                "overlapping",
                f"{event.offset} of {partition} was committed for {event.member}, and {reader} had been assigned it",
            )
        self._committed[partition] = max(self._committed[partition], event.offset)
        self._stored.pop((event.member, partition), None)

    def _vouch(self, member: str) -> None:
        """It is a member still, so what it stored has counted, or will."""
        for (who, partition), (offset, _) in list(self._stored.items()):
            if who == member and self._reader.get(partition) == member:
                self._committed[partition] = max(self._committed[partition], offset)
                del self._stored[who, partition]

    def _end(self, member: str, partition: str) -> None:
        reading = self._readings.get((member, partition))
        if reading is not None:
            reading.is_over = True

    def _lost(self, member: str) -> None:
        for who, partition in self._readings:
            if who == member:
                self._end(who, partition)
                self._stored.pop((who, partition), None)

    def finish(self, ends: Mapping[str, int], last_members: Iterable[str]) -> None:
        self.verdict.members = len(self._seen)
        for partition, end in ends.items():
            reached = 0
            for first, last in sorted(self._ranges[partition]):
                if first > reached:
                    break
                reached = max(reached, last)
            if reached < end:
                self.verdict.break_rule("undelivered", f"{partition} from {reached} on, of {end}")
        for member in last_members:
            if member not in self._fed:
                self.verdict.break_rule("starved", f"{member} was never given a record")
