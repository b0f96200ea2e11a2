"""The judge of groups finds each kind of broken promise in a forged history that breaks it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.testing.group_checker import RULES, GroupVerdict, check_group
from shmlog.testing.group_history import EventKind, GroupEvent, GroupNotes, read_notes

Step = tuple[str, EventKind, int, int]
INTERVAL_NS = 1000

GOOD: list[Step] = [
    ("a", "assigned", 0, -1),
    ("a", "delivered", 0, 10),
    ("a", "committing", 10, -1),
    ("a", "committed", 10, -1),
    ("a", "delivered", 10, 20),
    ("a", "storing", 15, -1),
    ("a", "stored", 15, -1),  # and is killed
    ("b", "assigned", 15, -1),
    ("b", "delivered", 15, 30),
    ("b", "polled", -1, -1),
]


def judged(*steps: Step, end: int = 30, pause_ns: int = 1) -> GroupVerdict:
    events = [
        GroupEvent(number * pause_ns, member, kind, "" if kind in ("polled", "lost") else "t-0", offset, last)
        for number, (member, kind, offset, last) in enumerate(steps)
    ]
    return check_group(events, {"t-0": end}, poll_interval_ns=INTERVAL_NS, last_members=["b"])


def test_a_history_with_a_death_between_two_commits_is_in_order() -> None:
    verdict = judged(*GOOD)
    assert verdict.ok, verdict.examples
    assert (verdict.members, verdict.assignments, verdict.delivered, verdict.redelivered) == (2, 2, 35, 5)


FORGED: dict[str, list[Step]] = {
    "undelivered": [*GOOD[:8], ("b", "delivered", 15, 29)],
    "skipped": [*GOOD[:8], ("b", "delivered", 16, 30), ("b", "delivered", 30, 30), ("b", "assigned", 15, -1),
                ("b", "delivered", 15, 30)],
    "ahead": [*GOOD[:5], ("b", "assigned", 21, -1), ("b", "delivered", 21, 30), ("b", "assigned", 10, -1),
              ("b", "delivered", 10, 30)],
    "repeated": [*GOOD[:7], ("b", "assigned", 14, -1), ("b", "delivered", 14, 30)],
    "premature": [*GOOD[:9], ("b", "committing", 31, -1)],
    "overlapping": [*GOOD[:9], ("a", "committing", 15, -1), ("a", "committed", 15, -1)],
    "starved": [*GOOD[:5], ("a", "delivered", 20, 30), ("b", "assigned", 30, -1), ("b", "polled", -1, -1)],
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_found_broken(rule: str) -> None:
    verdict = judged(*FORGED[rule])
    assert list(verdict.broken) == [rule], verdict.examples
    assert verdict.examples[0].startswith(rule)


def test_what_a_member_stored_that_may_have_been_fenced_for_silence_counts_or_not() -> None:
    assert judged(*GOOD[:7], ("b", "assigned", 10, -1), ("b", "delivered", 10, 30), pause_ns=INTERVAL_NS).ok
    assert not judged(*GOOD[:7], ("b", "assigned", 10, -1), ("b", "delivered", 10, 30)).ok


def test_what_a_member_stored_counts_once_it_has_polled_again() -> None:
    after_poll = [*GOOD[:7], ("a", "polled", -1, -1), ("b", "assigned", 10, -1), ("b", "delivered", 10, 30)]
    assert list(judged(*after_poll, pause_ns=INTERVAL_NS).broken) == ["repeated"]


def test_what_a_member_stored_that_learns_that_it_is_none_does_not_count() -> None:
    lost: list[Step] = [*GOOD[:7], ("a", "lost", -1, -1), ("b", "assigned", 10, -1), ("b", "delivered", 10, 30)]
    assert judged(*lost).ok


def test_notes_survive_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    notes = GroupNotes(file, "a")
    notes.note("assigned", "t-0", 3)
    notes.note("polled")
    notes.close()
    with file.open("ab") as torn:
        torn.write(b'{"at_ns":1,"mem')
    first, second = read_notes(file)
    assert (first.member, first.kind, first.partition, first.offset) == ("a", "assigned", "t-0", 3)
    assert second.kind == "polled"
    assert first.at_ns <= second.at_ns
