"""Which replica leads next, decided from what is in sync, what runs, and how much of the log each has."""

from __future__ import annotations

from dataclasses import replace

from shmlog.machines.failover import (
    AskToHandOver,
    Candidates,
    FailoverMachine,
    HandedOver,
    Lead,
    LeaderWanted,
    LogFailed,
    NobodyCanLead,
    Vacant,
    VacateLeader,
)
from shmlog.machines.metadata_records import InSyncChanged
from shmlog.machines.step import Step

PARTITION = 7
THREE = Candidates(0, frozenset({0, 1, 2}), {1: 90, 2: 100}, {}, is_unclean=False)


def test_the_replica_in_sync_that_has_most_leads_once_nobody_else_writes() -> None:
    machine = FailoverMachine()
    told = (VacateLeader(PARTITION), AskToHandOver(PARTITION, 2))
    assert machine.observe(LogFailed(PARTITION, THREE)).actions == told
    assert machine.observe(Vacant(PARTITION, THREE.in_sync)) == Step()
    step = machine.observe(HandedOver(PARTITION, 2, THREE.in_sync))
    assert step.records == (InSyncChanged(PARTITION, 2, [1, 2]),)
    assert step.actions == (Lead(PARTITION, 2, frozenset({1, 2})),)
    assert machine.moving_to(PARTITION) is None


def test_of_equals_the_lowest_number_leads() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, replace(THREE, following={2: 5, 1: 5})))
    assert machine.moving_to(PARTITION) == 1


def test_one_that_is_not_in_sync_does_not_lead_however_much_it_has() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, replace(THREE, in_sync=frozenset({0, 1}))))
    assert machine.moving_to(PARTITION) == 1


def test_with_nobody_in_sync_it_is_said_who_would_have_to_come_back() -> None:
    machine = FailoverMachine()
    found = Candidates(0, frozenset({0, 1}), {2: 100}, {1: "StorageError: its disk is gone"}, is_unclean=False)
    (said,) = machine.observe(LogFailed(PARTITION, found)).actions
    assert isinstance(said, NobodyCanLead)
    assert "replica 1, in sync, does not run: StorageError: its disk is gone" in said.reason
    assert "replica 2 is not in sync (unclean.leader.election.enable=true lets it lead" in said.reason
    assert machine.moving_to(PARTITION) is None


def test_an_unclean_leader_begins_alone_in_sync() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, Candidates(0, frozenset({0, 1}), {2: 100}, {1: "gone"}, is_unclean=True)))
    machine.observe(Vacant(PARTITION, THREE.in_sync))
    step = machine.observe(HandedOver(PARTITION, 2, frozenset({0, 1})))
    assert step.records == (InSyncChanged(PARTITION, 2, [2]),)


def test_an_unclean_leader_is_not_chosen_while_one_in_sync_runs() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, replace(THREE, in_sync=frozenset({0, 1}), is_unclean=True)))
    assert machine.moving_to(PARTITION) == 1


def test_a_replica_that_leaves_the_set_while_it_hands_over_takes_nobody_in_who_left() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, THREE))
    machine.observe(Vacant(PARTITION, THREE.in_sync))
    step = machine.observe(HandedOver(PARTITION, 2, frozenset({0, 2})))
    assert step.records == (InSyncChanged(PARTITION, 2, [2]),)


def test_a_second_failure_during_a_move_changes_nothing() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, THREE))
    assert machine.observe(LogFailed(PARTITION, replace(THREE, following={1: 900}))) == Step()
    assert machine.observe(LeaderWanted(PARTITION, 1, THREE)) == Step()
    assert machine.moving_to(PARTITION) == 2


def test_nobody_leads_before_the_owner_and_the_follower_are_gone() -> None:
    machine = FailoverMachine()
    machine.observe(LogFailed(PARTITION, THREE))
    assert machine.observe(HandedOver(PARTITION, 1, THREE.in_sync)) == Step()
    assert machine.observe(HandedOver(PARTITION, 2, THREE.in_sync)) == Step()
    assert machine.moving_to(PARTITION) == 2
    assert machine.observe(Vacant(PARTITION, THREE.in_sync)).actions == (Lead(PARTITION, 2, frozenset({1, 2})),)


def test_who_is_wanted_leads_if_it_is_in_sync_and_runs() -> None:
    machine = FailoverMachine()
    assert machine.observe(LeaderWanted(PARTITION, 1, THREE)).actions == (
        VacateLeader(PARTITION),
        AskToHandOver(PARTITION, 1),
    )
    assert machine.moving_to(PARTITION) == 1


def test_the_leader_itself_may_be_wanted() -> None:
    assert FailoverMachine().observe(LeaderWanted(PARTITION, 0, THREE)) == Step()


def test_who_cannot_lead_is_refused_with_the_reason() -> None:
    machine = FailoverMachine()
    found = Candidates(0, frozenset({0, 1}), {2: 100}, {1: "it is starting"}, is_unclean=True)
    for wanted, reason in ((1, "it is starting"), (2, "it is not in sync"), (3, "there is none")):
        assert machine.observe(LeaderWanted(PARTITION, wanted, found)).actions == (
            NobodyCanLead(PARTITION, f"replica {wanted} cannot lead: {reason}"),
        )
