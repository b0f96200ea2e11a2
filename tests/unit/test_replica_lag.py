"""Who keeps up with a leader and who does not: the rules, with a clock that the test turns."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from shmlog.machines.replica_lag import CaughtUp, Count, Decision, Lags, ReplicaLagMachine, Seen, Standing

LAG_MAX = 1000


class Trial:
    """One follower with replica id 1 under the machine; `now`, `end` and `hw` are the test's to change."""

    def __init__(self, *, in_sync: bool) -> None:
        self.machine = ReplicaLagMachine(LAG_MAX, [(1, in_sync)])
        self.now = 5_000_000

    def look(self, progress: int, end: int, *, after: int = 0, hw: int = 0, fault: str = "") -> list[Decision]:
        self.now += after
        return self.machine.look(self.now, end, hw, [Seen(1, progress, fault)])

    @property
    def standing(self) -> Standing:
        return self.machine.standing(1)


def test_one_that_has_everything_is_never_slow() -> None:
    trial = Trial(in_sync=True)
    for end in (0, 10, 20):
        assert trial.look(end, end, after=10 * LAG_MAX) == []
    assert not trial.machine.waits()


def test_one_that_does_not_get_to_where_the_log_ended_in_time_lags_and_is_reported_once() -> None:
    trial = Trial(in_sync=True)
    assert trial.look(4, 10) == []
    assert trial.machine.waits()
    assert trial.look(9, 30, after=LAG_MAX) == []
    assert trial.look(9, 40, after=1) == [Lags(1, 31, "")]
    assert trial.look(9, 50, after=LAG_MAX) == []
    assert trial.standing is Standing.LAGS


def test_one_that_is_always_behind_but_never_for_long_is_in_sync() -> None:
    trial = Trial(in_sync=True)
    for end in range(100, 2000, 100):
        assert trial.look(end - 100, end, after=LAG_MAX) == []
    assert trial.standing is Standing.IN


def test_time_in_which_nobody_looked_is_nobodys_lag() -> None:
    """The leader slept, and woke because records came, which the follower cannot have yet."""
    trial = Trial(in_sync=True)
    assert trial.look(10, 10) == []
    assert trial.look(10, 20, after=100 * LAG_MAX) == []
    assert trial.look(20, 20, after=1) == []


def test_one_that_lagged_and_is_quick_again_before_anybody_took_it_out_is_reported_when_it_lags_again() -> None:
    trial = Trial(in_sync=True)
    trial.look(0, 10)
    assert trial.look(0, 10, after=LAG_MAX + 1) == [Lags(1, 10, "")]
    assert trial.look(10, 10, after=1) == []
    assert trial.standing is Standing.IN
    trial.look(10, 20, after=1)
    assert trial.look(10, 20, after=LAG_MAX + 1) == [Lags(1, 10, "")]


def test_a_fault_is_reported_at_once_and_there_is_no_way_back() -> None:
    trial = Trial(in_sync=True)
    assert trial.look(10, 10, fault="it went back") == [Lags(1, 0, "it went back")]
    assert trial.look(10, 10, after=1, fault="it went back") == []
    assert trial.standing is Standing.LAGS


def test_one_that_does_not_follow_yet_has_as_long_as_any_other() -> None:
    trial = Trial(in_sync=True)
    assert trial.look(-1, 0) == []
    assert trial.look(-1, 0, after=LAG_MAX) == []
    assert trial.look(-1, 0, after=1) == [Lags(1, 0, "")]


def test_one_outside_that_has_everything_counts_first_and_is_reported_then() -> None:
    trial = Trial(in_sync=False)
    assert trial.look(10, 10, hw=10) == [Count(1, counts=True), CaughtUp(1)]
    assert trial.standing is Standing.IN


def test_one_outside_that_took_long_and_has_everything_now_joins() -> None:
    trial = Trial(in_sync=False)
    assert trial.look(4, 10, hw=10) == []
    assert trial.look(20, 20, after=100 * LAG_MAX, hw=20) == [Count(1, counts=True), CaughtUp(1)]


def test_one_outside_that_does_not_follow_this_leader_stays_there() -> None:
    trial = Trial(in_sync=False)
    assert trial.look(-1, 0) == []
    assert trial.look(-1, 0, after=1) == []


def test_one_that_is_quick_counts_before_it_has_all_that_is_shown_and_is_reported_when_it_has() -> None:
    """Under steady load it never has everything when somebody looks. The high watermark waits for it; then it has."""
    trial = Trial(in_sync=False)
    assert trial.look(80, 100, hw=100) == []
    assert trial.look(180, 200, after=LAG_MAX // 2, hw=200) == [Count(1, counts=True)]
    assert trial.standing is Standing.JOINS
    assert trial.look(199, 300, after=1, hw=200) == []
    assert trial.look(200, 300, after=1, hw=200) == [CaughtUp(1)]


def test_one_that_is_quick_enough_to_stay_is_not_quick_enough_to_join() -> None:
    trial = Trial(in_sync=False)
    assert trial.look(80, 100, hw=100) == []
    assert trial.look(100, 200, after=LAG_MAX // 2 + 1, hw=200) == []
    assert trial.standing is Standing.OUT


def test_one_that_stops_while_it_joins_holds_nobody_up_for_long() -> None:
    trial = Trial(in_sync=False)
    trial.look(80, 100, hw=100)
    assert trial.look(180, 200, after=1, hw=200) == [Count(1, counts=True)]
    assert trial.look(180, 200, after=LAG_MAX // 2, hw=200) == []
    assert trial.look(180, 200, after=1, hw=200) == [Count(1, counts=False)]
    assert trial.standing is Standing.OUT


@pytest.mark.parametrize("standing", [Standing.OUT, Standing.JOINS])
def test_one_with_a_fault_does_not_join(standing: Standing) -> None:
    trial = Trial(in_sync=False)
    if standing is Standing.JOINS:
        trial.look(80, 100, hw=100)
        trial.look(180, 200, after=1, hw=200)
    assert trial.standing is standing
    decisions = [*trial.look(200, 200, after=1, hw=200, fault="it went back")]
    decisions += trial.look(200, 200, after=1, hw=200, fault="it went back")
    left = [Count(1, counts=False)] if standing is Standing.JOINS else []
    assert decisions == [*left, Lags(1, 0, "it went back")]
    assert trial.look(200, 200, after=1, hw=200, fault="it went back") == []
    assert trial.standing is Standing.OUT
    assert not trial.machine.waits()


@given(
    in_sync=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, LAG_MAX), st.integers(0, 20), st.integers(0, 30), st.booleans())),
)
def test_whoever_is_reported_as_caught_up_counts_and_has_what_is_shown(
    in_sync: bool, steps: list[tuple[int, int, int, bool]]
) -> None:
    """The high watermark of the test is a leader's: the least that those that count have, and it never goes back."""
    trial = Trial(in_sync=in_sync)
    counts, end, progress, hw = in_sync, 0, 0, 0
    for after, appended, copied, faulty in steps:
        end += appended
        progress = min(end, progress + copied)
        hw = max(hw, min(end, progress) if counts else end)
        for decision in trial.look(progress, end, after=after, hw=hw, fault="a fault" if faulty else ""):
            match decision:
                case Count(1, now_counts):
                    assert now_counts != counts
                    counts = now_counts
                case CaughtUp(1):
                    assert counts
                    assert progress >= hw
                case Lags(1, lag_records, fault):
                    assert counts or fault
                    assert lag_records == end - progress
                    assert bool(fault) == faulty
        assert counts == (trial.standing is not Standing.OUT)
