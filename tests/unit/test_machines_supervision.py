"""Golden traces of supervision: a script of observations, then everything that was decided."""

from __future__ import annotations

from hypothesis import given, strategies as st

from shmlog.machines.supervision import (
    CLOSE_ATTEMPTS_MAX,
    ClosedCleanly,
    Exited,
    Failing,
    Gone,
    Observation,
    OwnerPhase,
    Ready,
    Standing,
    StartOwner,
    SupervisionMachine,
    Survived,
    Tick,
    Unanswered,
    Unwanted,
    Wanted,
)
from tests.supervision_trace import MS, told, trace


def test_a_killed_owner_is_replaced_at_once_under_a_higher_epoch_that_is_recorded_first() -> None:
    assert trace([(0, Wanted(1, 6)), (20, Ready(1)), (900, Exited(1)), (905, Ready(1))]) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            20   ready         -> - [running]
            900  exited        -> epoch 8, start under 8 [starting]
            905  ready         -> - [running]
        """
    )


def test_an_owner_that_outlived_its_supervisor_goes_on_under_its_epoch_and_has_a_successor_when_it_dies() -> None:
    assert trace([(0, Survived(1, 6)), (5, Ready(1)), (900, Exited(1))]) == told(
        """
            0    survived      -> expect it under 6 [starting]
            5    ready         -> - [running]
            900  exited        -> epoch 7, start under 7 [starting]
        """
    )


def test_an_owner_that_does_not_come_back_has_a_successor_as_if_it_had_just_died() -> None:
    assert trace([(0, Survived(1, 6)), (3000, Exited(1)), (3005, Ready(1))]) == told(
        """
            0    survived      -> expect it under 6 [starting]
            3000 exited        -> epoch 7, start under 7 [starting]
            3005 ready         -> - [running]
        """
    )


def test_an_owner_that_keeps_failing_is_restarted_ever_more_slowly() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, -1)),
        (10, Exited(1)),
        (20, Exited(1)),
        (100, Tick()),
        (120, Tick()),
        (130, Exited(1)),
        (330, Tick()),
        (340, Ready(1)),
        (400, Exited(1)),
        (800, Tick()),
        (810, Ready(1)),
        (1060, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 0, start under 0 [starting]
            10   exited        -> epoch 1, start under 1 [starting]
            20   exited        -> due 120 [waiting]
            100  tick          -> due 120 [waiting]
            120  tick          -> epoch 2, start under 2 [starting]
            130  exited        -> log failed, due 330 [waiting]
            330  tick          -> epoch 3, start under 3 [starting]
            340  ready         -> - [running]
            400  exited        -> log failed, due 800 [waiting]
            800  tick          -> epoch 4, start under 4 [starting]
            810  ready         -> - [running]
            1060 exited        -> epoch 5, start under 5 [starting]
        """
    )


def test_owners_that_served_and_are_killed_soon_after_one_another_are_replaced_at_once_for_a_while() -> None:
    script: list[tuple[int, Observation]] = [(0, Wanted(1, -1))]
    for at_ms in (0, 100, 200, 300):
        script += [(at_ms + 10, Ready(1)), (at_ms + 100, Exited(1))]
    assert trace([*script, (500, Tick())]) == told(
        """
            0    wanted        -> epoch 0, start under 0 [starting]
            10   ready         -> - [running]
            100  exited        -> epoch 1, start under 1 [starting]
            110  ready         -> - [running]
            200  exited        -> epoch 2, start under 2 [starting]
            210  ready         -> - [running]
            300  exited        -> epoch 3, start under 3 [starting]
            310  ready         -> - [running]
            400  exited        -> log failed, due 800 [waiting]
            500  tick          -> due 800 [waiting]
        """
    )


def test_the_pause_between_restarts_has_a_bound() -> None:
    machine = SupervisionMachine(backoff_max_ms=1000)
    machine.observe(Wanted(1, -1), 0)
    now, longest = 0, 0
    for _ in range(100):
        machine.observe(Exited(1), now)
        due = machine.next_deadline_ns()
        if due is not None:
            longest = max(longest, due - now)
            now = due
            machine.observe(Tick(), now)
    assert longest == 1000 * MS


def test_a_failure_that_no_restart_can_change_takes_the_partition_offline_with_its_reason() -> None:
    machine = SupervisionMachine()
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (5, Failing(1, "ForeignVersionError", "layout 9.9")),
        (6, Exited(1)),
        (9000, Tick()),
        (9001, Unwanted(1, delete=True)),
    ]
    assert trace(script[:4], machine) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            5    failing       -> - [starting]
            6    exited        -> log failed [offline]
            9000 tick          -> - [offline]
        """
    )
    assert machine.error(1) == "ForeignVersionError: layout 9.9"
    assert trace(script[4:], machine) == "9001 unwanted      -> gone [stopped]"


def test_a_silent_owner_is_killed_once_and_replaced_only_when_its_exit_is_seen() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (10, Ready(1)),
        (900, Unanswered(1, 500 * MS)),
        (1500, Unanswered(1, 500 * MS)),
        (1600, Unanswered(1, 500 * MS)),
        (5000, Tick()),
        (6000, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            10   ready         -> - [running]
            900  unanswered    -> - [running]
            1500 unanswered    -> kill [running]
            1600 unanswered    -> - [running]
            5000 tick          -> - [running]
            6000 exited        -> epoch 2, start under 2 [starting]
        """
    )


def test_an_owner_that_does_not_get_on_with_its_start_is_killed_once_and_replaced() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (900, Standing(1, 0)),
        (1800, Standing(1, 850 * MS)),
        (1900, Standing(1, 900 * MS)),
        (2000, Standing(1, 900 * MS)),
        (2100, Exited(1)),
        (2200, Ready(1)),
        (9000, Standing(1, 900 * MS)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            900  standing      -> - [starting]
            1800 standing      -> - [starting]
            1900 standing      -> kill [starting]
            2000 standing      -> - [starting]
            2100 exited        -> epoch 2, start under 2 [starting]
            2200 ready         -> - [running]
            9000 standing      -> - [running]
        """
    )


def test_a_successor_is_not_killed_for_what_its_predecessor_owed() -> None:
    """Regression: the old order counted against an owner that was still starting, which was killed again and again."""
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (10, Ready(1)),
        (1500, Unanswered(1, 500 * MS)),
        (1600, Exited(1)),
        (1700, Unanswered(1, 500 * MS)),
        (1800, Ready(1)),
        (1900, Unanswered(1, 500 * MS)),
        (2800, Unanswered(1, 500 * MS)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            10   ready         -> - [running]
            1500 unanswered    -> kill [running]
            1600 exited        -> epoch 2, start under 2 [starting]
            1700 unanswered    -> - [starting]
            1800 ready         -> - [running]
            1900 unanswered    -> - [running]
            2800 unanswered    -> kill [running]
        """
    )


def test_a_successor_that_only_has_to_close_is_not_killed_for_what_its_predecessor_owed() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (10, Ready(1)),
        (20, Unwanted(1, delete=False)),
        (1500, Unanswered(1, 500 * MS)),
        (1600, Exited(1)),
        (1700, Unanswered(1, 500 * MS)),
        (1800, Ready(1)),
        (1900, Unanswered(1, 500 * MS)),
        (2800, Unanswered(1, 500 * MS)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            10   ready         -> - [running]
            20   unwanted      -> close [closing]
            1500 unanswered    -> kill [closing]
            1600 exited        -> epoch 2, start under 2 [closing]
            1700 unanswered    -> - [closing]
            1800 ready         -> close [closing]
            1900 unanswered    -> - [closing]
            2800 unanswered    -> kill [closing]
        """
    )


def test_closing_waits_for_an_owner_that_is_just_starting() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (5, Unwanted(1, delete=False)),
        (9, Ready(1)),
        (20, ClosedCleanly(1)),
        (21, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            5    unwanted      -> - [closing]
            9    ready         -> close [closing]
            20   closedcleanly -> - [closing]
            21   exited        -> gone clean [stopped]
        """
    )


def test_an_owner_that_dies_while_it_closes_has_a_successor_that_closes_and_a_hopeless_one_is_left() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (9, Ready(1)),
        (10, Unwanted(1, delete=False)),
        (11, Exited(1)),
        (12, Ready(1)),
        (13, Exited(1)),
        (14, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 1, start under 1 [starting]
            9    ready         -> - [running]
            10   unwanted      -> close [closing]
            11   exited        -> epoch 2, start under 2 [closing]
            12   ready         -> close [closing]
            13   exited        -> epoch 3, start under 3 [closing]
            14   exited        -> gone [stopped]
        """
    )
    assert CLOSE_ATTEMPTS_MAX == 3


def test_a_partition_that_is_deleted_while_it_waits_for_a_restart_is_gone_at_once() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 0)),
        (1, Exited(1)),
        (2, Exited(1)),
        (3, Unwanted(1, delete=True)),
    ]
    assert trace(script).splitlines()[-1] == "3    unwanted      -> gone [stopped]"


def test_news_of_a_partition_that_nobody_knows_changes_nothing() -> None:
    for seen in (Ready(1), Exited(1), Unwanted(1, delete=True), Failing(1, "x", "y"), Unanswered(1, 0), Tick()):
        assert trace([(10**6, seen)]).endswith("-> - [stopped]")


observations = st.one_of(
    st.builds(Ready, st.just(1)),
    st.builds(Failing, st.just(1), st.sampled_from(["ForeignVersionError", "StorageError"]), st.just("m")),
    st.builds(ClosedCleanly, st.just(1)),
    st.just(Exited(1)),
    st.just(Exited(1)),
    st.builds(Unanswered, st.just(1), st.integers(0, 10**9)),
    st.builds(Standing, st.just(1), st.integers(0, 10**9)),
    st.builds(Unwanted, st.just(1), st.booleans()),
    st.just(Tick()),
)


@given(st.lists(st.tuples(st.integers(0, 5_000), observations), max_size=60))
def test_two_owners_never_run_and_epochs_only_rise_and_are_recorded_before(
    script: list[tuple[int, Observation]],
) -> None:
    machine = SupervisionMachine(unresponsive_ms=1)
    alive, epoch, now_ms = False, 6, 0
    wanted: list[tuple[int, Observation]] = [(0, Wanted(1, 6))]
    for pause_ms, seen in wanted + script:
        now_ms += pause_ms
        if isinstance(seen, Exited):
            if not alive:
                continue  # only a living process exits
            alive = False
        step = machine.observe(seen, now_ms * MS)
        recorded = [record.leader_epoch for record in step.records]
        started = [action.leader_epoch for action in step.actions if isinstance(action, StartOwner)]
        assert started == recorded
        for new in started:
            assert not alive
            assert new == epoch + 1
            alive, epoch = True, new
        if any(isinstance(action, Gone) for action in step.actions):
            assert not alive
            assert machine.phase(1) is OwnerPhase.STOPPED
    if machine.phase(1) is OwnerPhase.WAITING:
        due = machine.next_deadline_ns()
        assert due is not None
        assert [type(action) for action in machine.observe(Tick(), due).actions] == [StartOwner]
