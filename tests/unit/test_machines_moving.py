"""Golden traces of partitions that get another leader, as supervision sees it."""

from __future__ import annotations

from shmlog.machines.supervision import (
    ClosedCleanly,
    Exited,
    Failing,
    Led,
    Observation,
    Ready,
    Tick,
    Unanswered,
    Unwanted,
    Vacated,
    Wanted,
)
from tests.supervision_trace import told, trace


def test_an_owner_that_does_not_get_on_with_its_log_says_so_and_another_is_tried() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (20, Ready(1)),
        (900, Failing(1, "StorageError", "input/output error")),
        (901, Exited(1)),
        (901, Tick()),
        (910, Failing(1, "StorageError", "gone")),
        (911, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            20   ready         -> - [running]
            900  failing       -> - [running]
            901  exited        -> log failed, due 901 [waiting]
            901  tick          -> epoch 8, start under 8 [starting]
            910  failing       -> - [starting]
            911  exited        -> log failed, due 1011 [waiting]
        """
    )


def test_a_leader_that_shall_go_steps_down_and_the_next_one_starts_when_it_leads() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (20, Ready(1)),
        (50, Vacated(1)),
        (50, Vacated(1)),
        (52, ClosedCleanly(1)),
        (53, Exited(1)),
        (60, Led(1)),
        (70, Ready(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            20   ready         -> - [running]
            50   vacated       -> step down [moving]
            50   vacated       -> - [moving]
            52   closedcleanly -> - [moving]
            53   exited        -> vacant [moving]
            60   led           -> epoch 8, start under 8 [starting]
            70   ready         -> - [running]
        """
    )


def test_a_leader_whose_log_is_gone_is_vacant_at_once_and_not_tried_again() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (1, Failing(1, "StorageError", "gone")),
        (2, Exited(1)),
        (2, Vacated(1)),
        (500, Tick()),
        (510, Led(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            1    failing       -> - [starting]
            2    exited        -> log failed, due 2 [waiting]
            2    vacated       -> vacant [moving]
            500  tick          -> - [moving]
            510  led           -> epoch 8, start under 8 [starting]
        """
    )


def test_a_leader_that_does_not_step_down_is_killed_like_a_stuck_one() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (20, Ready(1)),
        (50, Vacated(1)),
        (900, Unanswered(1, 50)),
        (1050, Unanswered(1, 50)),
        (1060, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            20   ready         -> - [running]
            50   vacated       -> step down [moving]
            900  unanswered    -> - [moving]
            1050 unanswered    -> kill [moving]
            1060 exited        -> vacant [moving]
        """
    )


def test_a_partition_that_is_closed_while_it_moves_is_closed_by_its_new_leader() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (20, Ready(1)),
        (50, Vacated(1)),
        (52, Unwanted(1, delete=False)),
        (53, Exited(1)),
        (60, Led(1)),
        (70, Ready(1)),
        (71, ClosedCleanly(1)),
        (72, Exited(1)),
    ]
    assert trace(script) == told(
        """
            0    wanted        -> epoch 7, start under 7 [starting]
            20   ready         -> - [running]
            50   vacated       -> step down [moving]
            52   unwanted      -> - [moving]
            53   exited        -> vacant [moving]
            60   led           -> epoch 8, start under 8 [closing]
            70   ready         -> close [closing]
            71   closedcleanly -> - [closing]
            72   exited        -> gone clean [stopped]
        """
    )


def test_a_topic_that_is_deleted_while_it_moves_is_gone_when_it_would_be_led() -> None:
    script: list[tuple[int, Observation]] = [
        (0, Wanted(1, 6)),
        (20, Ready(1)),
        (50, Vacated(1)),
        (52, Unwanted(1, delete=True)),
        (53, Exited(1)),
        (60, Led(1)),
    ]
    assert trace(script).endswith("60   led           -> gone [stopped]")
