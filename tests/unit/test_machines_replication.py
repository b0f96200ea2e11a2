"""Followers are kept running, and the in-sync set is what the leader and the kernel have said."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import booleans, integers, sampled_from

from shmlog.machines.metadata_records import InSyncChanged
from shmlog.machines.replication import (
    LEADER_FIRST_MS,
    CaughtUp,
    CloseFollower,
    FollowerExited,
    FollowerFailing,
    FollowerPhase,
    FollowerReady,
    FollowersGone,
    HandOverWanted,
    HasHandedOver,
    KillFollower,
    Lags,
    LeaderChanged,
    Observation,
    OrderHandOver,
    ReplicasUnwanted,
    ReplicasWanted,
    ReplicationMachine,
    Silent,
    Spoiled,
    StartFollower,
    TellFollowers,
    TellLeader,
    Tick,
)

SECOND_NS = 1_000_000_000
WANTED = ReplicasWanted(7, 0, (1, 2), (0, 1, 2))
NOTHING = ReplicationMachine().observe(Tick(), 0)


def following(*replica_ids: int) -> ReplicationMachine:
    machine = ReplicationMachine()
    machine.observe(WANTED, 0)
    for replica_id in replica_ids:
        machine.observe(FollowerReady(7, replica_id), 0)
    return machine


def test_every_follower_of_a_partition_is_started_and_its_leader_is_told_when_it_follows() -> None:
    machine = ReplicationMachine()
    assert machine.observe(WANTED, 0).actions == (StartFollower(7, 1), StartFollower(7, 2))
    assert machine.in_sync(7) == {0, 1, 2}
    assert machine.observe(FollowerReady(7, 2), 0).actions == (TellLeader(7),)


def test_a_follower_that_dies_is_out_before_anybody_is_told_and_starts_again_at_once() -> None:
    step = following(1, 2).observe(FollowerExited(7, 2), SECOND_NS)
    assert step.records == (InSyncChanged(7, 0, [0, 1]),)
    assert step.actions == (TellLeader(7), StartFollower(7, 2))


def test_a_follower_that_dies_again_and_again_is_started_after_longer_and_longer_pauses() -> None:
    machine, now_ns, pauses = following(1, 2), SECOND_NS, []
    machine.observe(FollowerExited(7, 2), now_ns)
    for _ in range(3):
        machine.observe(FollowerExited(7, 2), now_ns)
        due_ns = machine.next_deadline_ns()
        assert due_ns is not None
        pauses.append((due_ns - now_ns) // 1_000_000)
        assert machine.observe(Tick(), due_ns - 1).actions == ()
        assert machine.observe(Tick(), due_ns).actions == (StartFollower(7, 2),)
        now_ns = due_ns
    assert pauses == [100, 200, 400]


def test_one_that_lags_is_out_and_one_that_has_caught_up_is_in_again() -> None:
    machine = following(1, 2)
    assert machine.observe(Lags(7, 1), 0).records == (InSyncChanged(7, 0, [0, 2]),)
    assert machine.observe(Lags(7, 1), 0) == NOTHING
    assert machine.observe(CaughtUp(7, 1), 0).records == (InSyncChanged(7, 0, [0, 1, 2]),)


def test_one_that_shows_no_sign_of_life_is_killed_once_and_replaced_when_it_is_gone() -> None:
    machine = ReplicationMachine(unresponsive_ms=2000)
    machine.observe(WANTED, 0)
    machine.observe(FollowerReady(7, 1), 0)
    assert machine.observe(Silent(7, 1, since_ns=SECOND_NS), 2 * SECOND_NS) == NOTHING
    assert machine.observe(Silent(7, 1, since_ns=SECOND_NS), 3 * SECOND_NS).actions == (KillFollower(7, 1),)
    assert machine.observe(Silent(7, 1, since_ns=SECOND_NS), 9 * SECOND_NS) == NOTHING
    assert machine.followers(7)[1].error == "it has shown no sign of life for 2000 ms"
    assert StartFollower(7, 1) in machine.observe(FollowerExited(7, 1), 10 * SECOND_NS).actions
    assert machine.observe(Silent(7, 1, since_ns=10 * SECOND_NS), 12 * SECOND_NS).actions == (KillFollower(7, 1),)


def test_nobody_is_killed_for_silence_where_the_setting_says_never_or_before_there_is_a_process() -> None:
    assert following(1, 2).observe(Silent(7, 1, since_ns=0), 10**6 * SECOND_NS) == NOTHING
    machine = following(1, 2)
    for _ in range(2):
        machine.observe(FollowerExited(7, 1), 0)
    assert machine.followers(7)[1].phase is FollowerPhase.WAITING
    assert machine.observe(Spoiled(7, 1, "its region is not there"), 0) == NOTHING


def test_one_whose_region_is_spoiled_is_killed_and_replaced_after_longer_pauses_if_that_goes_on() -> None:
    machine = following(1, 2)
    assert machine.observe(Spoiled(7, 1, "it lies"), SECOND_NS).actions == (KillFollower(7, 1),)
    assert machine.followers(7)[1].error == "it lies"
    machine.observe(FollowerExited(7, 1), SECOND_NS)
    machine.observe(FollowerReady(7, 1), SECOND_NS)
    assert machine.followers(7)[1].error == ""
    assert machine.observe(Spoiled(7, 1, "it lies"), 2 * SECOND_NS).actions == (KillFollower(7, 1),)
    machine.observe(FollowerExited(7, 1), 2 * SECOND_NS)
    assert machine.followers(7)[1].phase is FollowerPhase.WAITING


def test_one_that_died_meanwhile_has_not_caught_up() -> None:
    machine = following(1, 2)
    machine.observe(FollowerExited(7, 2), SECOND_NS)
    step = machine.observe(CaughtUp(7, 2), SECOND_NS)
    assert step.records == ()
    assert step.actions == (TellLeader(7),), "or the leader would wait for it"


def test_why_a_follower_failed_is_known_until_the_next_one_follows() -> None:
    machine = following(1)
    machine.observe(FollowerFailing(7, 1, "StorageError", "no disk"), 0)
    machine.observe(FollowerExited(7, 1), SECOND_NS)
    assert machine.followers(7)[1].error == "StorageError: no disk"
    machine.observe(FollowerReady(7, 1), SECOND_NS)
    assert machine.followers(7)[1].error == ""


def test_closing_ends_all_followers_and_leaves_the_in_sync_set_as_it_is() -> None:
    machine = following(1)
    assert machine.observe(ReplicasUnwanted(7, True), 0).actions == (CloseFollower(7, 1, True),)
    assert machine.observe(FollowerReady(7, 2), 0).actions == (CloseFollower(7, 2, True),), "it was starting"
    assert machine.observe(FollowerExited(7, 1), 0) == NOTHING
    assert machine.observe(FollowerExited(7, 2), 0).actions == (FollowersGone(7, True),)
    assert machine.all_gone()


class AnyHistory(RuleBasedStateMachine):
    """Whatever is seen in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = ReplicationMachine(unresponsive_ms=5000)
        self.now_ns = 0
        self.recorded = {0, 1, 2}
        self.living: set[int] = set()
        self.killed: set[int] = set()
        self.see(WANTED)

    def see(self, seen: Observation) -> None:
        before = self.machine.in_sync(7)
        step = self.machine.observe(seen, self.now_ns)
        for record in step.records:
            self.recorded = set(record.in_sync)
        if self.machine.in_sync(7) and self.machine.in_sync(7) != before:
            assert TellLeader(7) in step.actions or before == frozenset()
        for action in step.actions:
            if isinstance(action, StartFollower):
                assert action.replica_id not in self.living, "two processes of one follower"
                self.living.add(action.replica_id)
            if isinstance(action, KillFollower):
                assert action.replica_id in self.living - self.killed, "there is nobody, or killed twice"
                self.killed.add(action.replica_id)

    @rule(replica_id=sampled_from([1, 2]))
    def ready(self, replica_id: int) -> None:
        if replica_id in self.living:
            self.see(FollowerReady(7, replica_id))

    @rule(replica_id=sampled_from([1, 2]))
    def exit(self, replica_id: int) -> None:
        if replica_id in self.living:
            self.living.discard(replica_id)
            self.killed.discard(replica_id)
            self.see(FollowerExited(7, replica_id))

    @rule(replica_id=sampled_from([1, 2]), caught_up=booleans())
    def leader_says(self, replica_id: int, caught_up: bool) -> None:
        self.see(CaughtUp(7, replica_id) if caught_up else Lags(7, replica_id))

    @rule(replica_id=sampled_from([1, 2]), silent_ms=integers(0, 20_000))
    def silent(self, replica_id: int, silent_ms: int) -> None:
        self.see(Silent(7, replica_id, self.now_ns - silent_ms * 1_000_000))

    @rule(replica_id=sampled_from([1, 2]))
    def spoiled(self, replica_id: int) -> None:
        self.see(Spoiled(7, replica_id, "it lies"))

    @rule(milliseconds=integers(1, 20_000))
    def tick(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * 1_000_000
        self.see(Tick())

    @invariant()
    def the_leader_and_living_followers_alone_are_in_sync_and_it_is_written_down(self) -> None:
        in_sync = self.machine.in_sync(7)
        assert 0 in in_sync
        assert in_sync == self.recorded
        assert in_sync - {0} <= self.living

    @invariant()
    def who_does_not_live_is_about_to_be_started(self) -> None:
        for replica_id, follower in self.machine.followers(7).items():
            assert replica_id in self.living or follower.phase is FollowerPhase.WAITING
        if any(one.phase is FollowerPhase.WAITING for one in self.machine.followers(7).values()):
            assert self.machine.next_deadline_ns() is not None


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_follower_that_hands_over_leads_and_the_leader_before_follows() -> None:
    machine = following(1, 2)
    assert machine.observe(HandOverWanted(7, 2), 0).actions == (OrderHandOver(7, 2),)
    gone = machine.observe(FollowerExited(7, 2), SECOND_NS)
    assert (gone.records, gone.actions) == ((), (HasHandedOver(7, 2),))  # it stays in the set: it is about to lead
    step = machine.observe(LeaderChanged(7, 2, frozenset({1, 2})), SECOND_NS)
    assert step.actions == (TellFollowers(7),)
    assert machine.observe(Tick(), SECOND_NS + LEADER_FIRST_MS * 1_000_000).actions == (StartFollower(7, 0),)
    assert set(machine.followers(7)) == {0, 1}
    assert machine.in_sync(7) == {1, 2}
    machine.observe(FollowerReady(7, 0), SECOND_NS)
    assert machine.observe(CaughtUp(7, 0), SECOND_NS).records == (InSyncChanged(7, 2, [0, 1, 2]),)


def test_a_follower_that_died_before_it_was_asked_to_hand_over_is_not_started_again() -> None:
    machine = following(1, 2)
    for _ in range(2):
        machine.observe(FollowerExited(7, 2), 0)
    assert machine.observe(HandOverWanted(7, 2), 0).actions == (HasHandedOver(7, 2),)
    assert machine.observe(Tick(), 100 * SECOND_NS) == NOTHING


def test_a_follower_that_starts_is_asked_to_hand_over_when_it_is_ready() -> None:
    machine = following(1)
    assert machine.observe(HandOverWanted(7, 2), 0) == NOTHING
    assert machine.observe(FollowerReady(7, 2), 0).actions == (OrderHandOver(7, 2),)


def test_a_partition_that_is_closed_while_it_changes_its_leader_is_gone_when_that_is_done() -> None:
    machine = following(1, 2)
    machine.observe(HandOverWanted(7, 2), 0)
    assert machine.observe(ReplicasUnwanted(7, False), 0).actions == (CloseFollower(7, 1, False),)
    machine.observe(FollowerExited(7, 1), 0)
    machine.observe(FollowerExited(7, 2), 0)
    assert not machine.all_gone()
    assert machine.observe(LeaderChanged(7, 2, frozenset({2})), 0).actions == (FollowersGone(7, False),)


def test_a_follower_that_dies_while_nobody_leads_stays_in_sync_for_it_has_all_that_was_acknowledged() -> None:
    machine = following(1, 2)
    step = machine.observe(FollowerExited(7, 2, has_leader=False), SECOND_NS)
    assert (step.records, step.actions) == ((), (StartFollower(7, 2),))
    assert machine.in_sync(7) == {0, 1, 2}
    machine.observe(FollowerReady(7, 2), SECOND_NS)
    assert machine.observe(FollowerExited(7, 2), 2 * SECOND_NS).records == (InSyncChanged(7, 0, [0, 1]),)
