"""The power goes out while the supervisor records topics: what it had answered is there when the power comes back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shmlog.log.partition_log import PartitionLog
from shmlog.settings import ClusterConfig, TopicConfig
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.trash import Trash
from shmlog.testing.power_loss import PowerLossStorage
from shmlog.testing.storage import FaultyStorage

CONFIG = ClusterConfig.from_mapping({})
SEEDS = 8


@dataclass
class Answers:
    """What the supervisor has told anybody."""

    topics: dict[str, str] = field(default_factory=dict)
    """Ids by name: created, and no deletion begun."""
    deleted: set[str] = field(default_factory=set)
    """Ids whose deletion was answered."""
    ids: set[int] = field(default_factory=set)


class Actor:
    """What a supervisor and its owners do with the disk, without being processes."""

    def __init__(self, storage: PowerLossStorage | FaultyStorage, data_dir: Path, loop: Loop) -> None:
        self.storage, self.data_dir = storage, data_dir
        self.catalog = Catalog(str(data_dir), CONFIG, storage)
        self.trash = Trash(loop, [str(data_dir)], storage)

    def open_partition(self, name: str, topic_id: str) -> None:
        directory = str(self.data_dir / f"{name}-0")
        log = PartitionLog.open(directory, TopicConfig.from_mapping({}), topic_id=topic_id, storage=self.storage)
        log.assign_epoch(len(log.leader_epochs))
        log.close(clean=False)

    def create(self, name: str, topic_id: str) -> None:
        self.catalog.commit(self.catalog.machine.create_topic(name, topic_id=topic_id, partitions=1).records)
        self.open_partition(name, topic_id)

    def finish_deletions(self) -> None:
        for topic in self.catalog.machine.deletions():
            self.trash.throw_away(str(self.data_dir / f"{topic.name}-0"), topic.topic_id)
            self.catalog.commit(self.catalog.machine.finish_deletion(topic.topic_id).records)

    def delete(self, name: str) -> None:
        self.catalog.commit(self.catalog.machine.delete_topic(name).records)
        self.finish_deletions()


def assert_recovers(data_dir: Path, answers: Answers, loop: Loop) -> None:
    storage = FaultyStorage()
    actor = Actor(storage, data_dir, loop)
    actor.finish_deletions()
    found = {topic.name: topic.topic_id for topic in actor.catalog.machine.topics()}
    assert answers.topics.items() <= found.items()
    assert not answers.deleted & set(found.values())
    for name, topic_id in found.items():
        assert (data_dir / f"{name}-0" / "partition.metadata").exists() or name not in answers.topics
        actor.open_partition(name, topic_id)
    assert actor.catalog.next_id("producer") not in answers.ids
    actor.create("another", "another")
    actor.catalog.close(clean=True)
    storage.close_all()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(params=[SEEDS, pytest.param(8 * SEEDS, marks=pytest.mark.long)])
def cut_the_power(
    request: pytest.FixtureRequest, loop: Loop
) -> Iterator[Callable[[Callable[[Actor, Answers], None]], None]]:
    """Runs a scenario and looks at what is left after every call."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="power-loss-") as place:
        root, target, answers = Path(place) / "disk", Path(place) / "crash", Answers()
        root.mkdir()
        storage = PowerLossStorage(str(root))
        crashes = 0

        def crash(operation: str) -> None:
            nonlocal crashes
            for seed in range(request.param):
                crashes += 1
                storage.crash(str(target), seed if seed < 4 else 10 * crashes + seed)
                try:
                    assert_recovers(target, answers, loop)
                except Exception as error:
                    error.add_note(f"after call {storage.calls}, {operation}, seed {seed}, crash {crashes}")
                    raise
                shutil.rmtree(target)

        def run(scenario: Callable[[Actor, Answers], None]) -> None:
            storage.on_call = crash
            actor = Actor(storage, root, loop)
            scenario(actor, answers)
            actor.catalog.close(clean=True)

        yield run
        storage.close_all()
    print(f"{crashes} crashes")
    assert crashes > 100


def test_topics_that_come_and_go(cut_the_power: Callable[[Callable[[Actor, Answers], None]], None]) -> None:
    def scenario(actor: Actor, answers: Answers) -> None:
        actor.create("t", "first")
        answers.topics["t"] = "first"
        answers.ids.add(actor.catalog.next_id("producer"))
        del answers.topics["t"]
        actor.delete("t")
        answers.deleted.add("first")
        actor.create("t", "second")
        answers.topics["t"] = "second"

    cut_the_power(scenario)


def test_a_supervisor_that_is_replaced_acts_on_nothing_that_could_be_forgotten(
    cut_the_power: Callable[[Callable[[Actor, Answers], None]], None], loop: Loop
) -> None:
    def scenario(actor: Actor, answers: Answers) -> None:
        actor.create("t", "first")
        answers.topics["t"] = "first"
        answers.ids.add(actor.catalog.next_id("producer"))
        actor.catalog.close(clean=False)
        again = Actor(actor.storage, actor.data_dir, loop)
        answers.ids.add(again.catalog.next_id("producer"))
        again.create("u", "second")
        answers.topics["u"] = "second"
        again.catalog.close(clean=False)

    cut_the_power(scenario)
