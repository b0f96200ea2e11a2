"""Which logs the supervisor has compacted, one after the other, and to whom what was made goes."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import CleanLog, LogCleaned, LogNotCleaned, SwapSegments
from shmlog.settings import ClusterConfig
from shmlog.supervisor.cleaning import Cleaning

SWAP = SwapSegments(7, [], 0, 10, 0)


class World:
    """Partitions 1 (compacted, replicas 0 and 1) and 2 (not compacted); replica 0 leads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: object) -> None:
        self.jobs: list[CleanLog] = []
        self.to_owner: list[object] = []
        self.to_follower: list[object] = []
        self.leader = 0
        self.owner_runs = True
        self.closed = False
        self.refuses = False
        world = self

        class Process:
            def __init__(self, loop: Any, hear: Any, on_death: Any) -> None:
                world.hear, world.die = hear, on_death

            def pids(self) -> set[int]:
                return set()

            def order(self, job: CleanLog) -> None:
                if world.refuses:
                    raise OSError(11, "Resource temporarily unavailable")
                world.jobs.append(job)

            def close(self) -> None:
                world.closed = True

        monkeypatch.setattr("shmlog.supervisor.cleaning.CleanerProcess", Process)
        self.hear: Any
        self.die: Any
        parts: Any = (
            None,
            SimpleNamespace(
                config=ClusterConfig.from_mapping(config),
                shm_group=None,
                directories=SimpleNamespace(log_directory=lambda partition, replica: f"/disk{replica}/flights-0"),
            ),
            SimpleNamespace(machine=SimpleNamespace(partitions=self.partitions, partition_by_id=self.partition)),
            SimpleNamespace(running=self.owner, send=lambda owner, order: self.to_owner.append(order)),
            SimpleNamespace(process=self.follower),
            SimpleNamespace(knows=lambda pids: None),
        )
        self.cleaning = Cleaning(*parts)

    def partition(self, partition_id: int) -> Any:
        config = {"cleanup.policy": "compact"} if partition_id == 1 else {}
        topic = SimpleNamespace(config=config)
        return SimpleNamespace(partition_id=partition_id, leader=self.leader, replicas={0: "A", 1: "B"}, topic=topic)

    def partitions(self) -> list[Any]:
        return [self.partition(1), self.partition(2)]

    def owner(self, partition_id: int) -> Any:
        return SimpleNamespace(page=SimpleNamespace(high_watermark=42)) if self.owner_runs else None

    def follower(self, partition_id: int, replica_id: int) -> Any:
        return SimpleNamespace(region=object(), send=self.to_follower.append)

    @property
    def directories(self) -> list[str]:
        return [job.directory for job in self.jobs]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_every_replica_of_a_compacted_topic_has_its_turn_one_after_the_other(world: World) -> None:
    world.cleaning.look()
    assert world.directories == ["/disk0/flights-0"]
    assert (world.jobs[0].high_watermark, world.jobs[0].dedupe_bytes) == (42, 134_217_728)
    assert world.jobs[0].config["cleanup.policy"] == "compact"
    world.cleaning.look()
    assert len(world.jobs) == 1, "a round is going on"
    world.hear(LogNotCleaned("/disk0/flights-0", ""))
    assert world.directories == ["/disk0/flights-0", "/disk1/flights-0"]
    world.hear(LogNotCleaned("/disk1/flights-0", ""))
    world.cleaning.look()
    assert len(world.jobs) == 3


def test_what_was_made_goes_to_whoever_writes_the_log_then(world: World) -> None:
    world.cleaning.look()
    world.hear(LogCleaned("/disk0/flights-0", SWAP, "said"))
    world.hear(LogCleaned("/disk1/flights-0", SWAP, "said"))
    assert (world.to_owner, world.to_follower) == ([SWAP], [SWAP])
    world.cleaning.look()
    world.leader = 1
    world.hear(LogCleaned("/disk0/flights-0", SWAP, "said"))
    assert (world.to_owner, world.to_follower) == ([SWAP], [SWAP, SWAP])


def test_a_cleaner_that_dies_begins_again_with_the_next_round(world: World) -> None:
    world.cleaning.look()
    world.die()
    world.cleaning.look()
    assert world.directories == ["/disk0/flights-0"] * 2


def test_nobody_cleans_without_an_owner_or_a_process_or_when_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off = World(monkeypatch, log_cleaner_enable=False)
    off.cleaning.look()
    assert off.jobs == []
    world = World(monkeypatch)
    world.owner_runs = False
    world.cleaning.look()
    assert world.jobs == []
    world.owner_runs, world.refuses = True, True
    world.cleaning.look()
    world.refuses = False
    world.cleaning.look()
    assert world.directories == ["/disk0/flights-0"]


def test_trouble_is_said_once_and_again_when_it_is_another(world: World, caplog: pytest.LogCaptureFixture) -> None:
    said = ["it is damaged", "it is damaged", "no room", "", "no room"]
    with caplog.at_level(logging.WARNING):
        for error in said:
            world.cleaning.look()
            world.hear(LogNotCleaned("/disk0/flights-0", error))
            world.hear(LogNotCleaned("/disk1/flights-0", ""))
    assert [record.getMessage() for record in caplog.records] == [
        f"/disk0/flights-0 is not compacted: {error}" for error in ("it is damaged", "no room", "no room")
    ]


def test_when_it_is_closed_nothing_more_is_ordered(world: World) -> None:
    world.cleaning.look()
    world.cleaning.close()
    world.hear(LogCleaned("/disk0/flights-0", SWAP, "said"))
    world.cleaning.look()
    assert (world.closed, world.to_owner, len(world.jobs)) == (True, [], 1)
