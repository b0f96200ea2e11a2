"""Patterns of topic names that take Python's regular expressions too long."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from shmlog.machines.group.topics import match_all
from shmlog.partition import pattern_matching
from shmlog.partition.pattern_matching import SLOW_MAX, PatternMatcher

ENDLESS = "(a+)+b"
TRAP = "a" * 60
"""Would take the pattern longer than anybody lives."""


@pytest.fixture
def matcher() -> Iterator[PatternMatcher]:
    before = signal.getsignal(signal.SIGVTALRM)
    yield PatternMatcher()
    signal.signal(signal.SIGVTALRM, before)


def test_whole_names_are_matched(matcher: PatternMatcher) -> None:
    names = ["flights", "flights.delayed", "weather", "myflights"]
    assert (
        matcher("flights.*", names)
        == match_all("flights.*", names)
        == (
            frozenset({"flights", "flights.delayed"}),
            (),
        )
    )


def test_a_name_that_takes_too_long_is_given_up_and_the_others_are_matched(
    matcher: PatternMatcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert matcher(ENDLESS, ["aab", TRAP, "b", "zzz", "ab"]) == (frozenset({"aab", "ab"}), (TRAP,))
    assert f"takes too long on 1 topics, such as '{TRAP}'" in caplog.text


def test_after_some_of_them_the_rest_is_given_up(matcher: PatternMatcher) -> None:
    traps = [TRAP + "a" * number for number in range(SLOW_MAX + 3)]
    assert matcher(ENDLESS, ["aaab", *traps]) == (frozenset(), (*traps, "aaab")), "it would be compared after them"


def test_many_names_that_take_long_together_are_all_matched(
    matcher: PatternMatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern_matching, "NAME_S", 0.005)
    names = [f"flights-{number}" for number in range(100_000)]
    assert matcher("flights-.*", names) == (frozenset(names), ())


def test_no_timer_is_left(matcher: PatternMatcher) -> None:
    matcher(ENDLESS, [TRAP])
    matcher("a", ["a"])
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
