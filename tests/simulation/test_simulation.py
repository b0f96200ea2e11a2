"""Seeds through the simulated partition: faults, then peace, and then everything that was promised must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.clients import Producer
from tests.simulation.processes import Process
from tests.simulation.world import World, open_world

SEEDS = 60
STEPS = 300
ELECTION = """\
  1000 start: follower 1
  1000 start: follower 2
  1000 metadata: leader epoch 0
  1000 start: owner over replica 0 in epoch 0
  1100 ready: epoch 0, offsets up to 0
  1100 producer 1 comes
  1200 producer 1 sends 3 to 3
  1300 high watermark 3
  1300 producer 1 hears of 3
  1300 consumer at 0: 3
  1300 elect 1: begun
  1350 follower 1 ends
  1350 owner over replica 0 in epoch 0 ends
  1400 metadata: replica 1 leads, in sync [1, 2]
  1400 metadata: leader epoch 1
  1400 start: owner over replica 1 in epoch 1
  1450 ready: epoch 1, offsets up to 3
  1500 start: follower 0
  1750 metadata: replica 1 leads, in sync [0, 1, 2]
  1750 producer 1 sends 2 to 5
  1850 high watermark 5
  1850 producer 1 hears of 2
  1850 consumer at 3: 2"""

LOST_LOG = """\
  1300 the log of replica 0 is lost
  1300 kill: owner over replica 0 in epoch 0
  1350 metadata: leader epoch 1
  1350 start: owner over replica 0 in epoch 1
  1350 owner over replica 0 in epoch 1 fails: StorageError
  1400 follower 1 ends
  1450 metadata: replica 1 leads, in sync [1, 2]
  1450 metadata: leader epoch 2
  1450 start: owner over replica 1 in epoch 2
  1500 ready: epoch 2, offsets up to 3
  1550 start: follower 0
  1800 metadata: replica 1 leads, in sync [0, 1, 2]"""


def live(seed: int, directory: Path, steps: int = STEPS) -> str:
    """One seed; the fingerprint of its trace. A failure has the last lines of it."""
    with open_world(seed, directory, 2 + seed % 2) as world:
        try:
            world.settle("at the start")
            for _ in range(steps):
                world.step()
            world.heal()
            world.check()
        except BaseException as error:
            error.add_note(f"seed {seed}:\n" + "\n".join(world.trace[-60:]))
            raise
        return world.fingerprint


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_nothing_acknowledged_is_lost_and_everything_comes_to_rest(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 10):
        live(seed, tmp_path / "world")


@pytest.mark.long
def test_nor_in_a_thousand_lives(tmp_path: Path) -> None:
    for seed in range(1000, 2000):
        live(seed, tmp_path / "world")


def test_the_same_seed_is_the_same_life(tmp_path: Path) -> None:
    for seed in (3, 4):
        assert live(seed, tmp_path / "world") == live(seed, tmp_path / "world")


def with_a_producer(world: World) -> Producer:
    """Everybody runs, and a producer has its lane."""
    world.settle("at the start")
    producer = world.add_producer()
    world.settle("with a producer", lambda: producer.is_attached)
    return producer


def test_an_election_that_somebody_asks_for(tmp_path: Path) -> None:
    with open_world(0, tmp_path / "world", 3) as world:
        producer = with_a_producer(world)
        world.send(producer, 3)
        world.settle("with records")
        world.elect(1)
        world.settle("with another leader", lambda: world.partition.leader == 1)
        world.send(producer, 2)
        world.settle("with more records")
        assert "\n".join(world.trace) == ELECTION


def test_an_election_because_the_leaders_log_is_gone(tmp_path: Path) -> None:
    with open_world(0, tmp_path / "world", 3) as world:
        producer = with_a_producer(world)
        world.send(producer, 3)
        world.settle("with records")
        before = len(world.trace)
        world.lose_leaders_log()
        world.settle("with another leader", lambda: world.partition.leader != 0)
        assert "\n".join(world.trace[before:]) == LOST_LOG
        world.check()


def test_a_partition_whose_first_owner_and_followers_die_at_once_gets_a_leader(tmp_path: Path) -> None:
    """Regression (seed 266): the second owner found no log, and was told that there had been one."""
    with open_world(0, tmp_path / "world", 2) as world:
        for process in world.living():
            world.kill(process)
        world.heal()


def follower(world: World, replica_id: int) -> Process:
    return next(one for one in world.living() if one.spec.replica_id == replica_id and not one.is_owner)


def test_a_replica_in_sync_that_was_empty_leads_after_a_reboot_and_one_that_has_more_follows(tmp_path: Path) -> None:
    """Nobody acknowledged what the other one has, under an epoch of which the leader has nothing."""
    with open_world(0, tmp_path / "world", 3) as world:
        producer = with_a_producer(world)
        world.stop(follower(world, 1))
        world.send(producer, 3)
        for _ in range(2):
            for process in world.living():
                world.turn(process)
        world.hear(producer)
        assert not producer.acknowledged
        world.lose_leaders_log()
        world.reboot()
        world.stop(follower(world, 2))
        while world.partition.leader != 1 or world.owner() is None:
            world.round()
        world.heal()
        world.check()
        assert list(world.log_directory(2).glob("*.log.set-aside-*"))
