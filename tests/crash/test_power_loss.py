"""The power goes out after every call to the storage, and what the disk then holds is drawn by lot.

Whatever was synced is there when the power comes back, what is there beyond it is a sound prefix of what was written,
and a log that lost something goes on like any other. Recovery itself is interrupted in the same way.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shmlog.log.checkpoint import EpochStart
from shmlog.log.dump import verify
from shmlog.log.partition_log import PartitionLog
from shmlog.log.snapshot import ProducerEntry, replay
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.power_loss import PowerLossStorage
from shmlog.testing.storage import FaultyStorage

CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), index_interval_bytes=500)
TOPIC_ID = "A" * 22
SEEDS = 6
RECOVERY_SEEDS = 3


def batch_at(offset: int, history: int = 0) -> bytes:
    """What is written at an offset, from one of two producers; in another history from two others."""
    records = [NewRecord(b"value %06d" % offset + bytes(offset % 7 * 90), timestamp_ms=1000 + offset)]
    return encode_batch(records, base_offset=offset, producer_id=10 * history + offset % 2, producer_epoch=0,
                        base_sequence=offset // 2)  # fmt: skip


@dataclass
class Partition:
    """A log on a disk that can lose power, and what has been promised about it."""

    storage: PowerLossStorage
    directory: str
    log: PartitionLog = field(init=False)
    synced: int = 0
    """Everything before it was acknowledged as synced."""
    end: int = 0
    end_at_most: int = 0
    start_at_most: int = 0
    epochs: list[EpochStart] = field(default_factory=list)
    """Epochs whose assignment has returned."""
    exists: bool = False
    """The topic's creation was acknowledged."""
    histories: list[list[bytes]] = field(default_factory=lambda: [[]])
    """The batches that were written; after a recovery that cut some off also what may be written instead."""

    def open(self) -> None:
        self.log = PartitionLog.open(self.directory, CONFIG, topic_id=TOPIC_ID, storage=self.storage)
        self.end = self.log.log_end_offset
        self.exists = True

    def append(self, batches: int) -> None:
        for _ in range(batches):
            batch = batch_at(self.end, len(self.histories) - 1)
            self.histories[-1].append(batch)
            self.end += 1
            self.log.append(batch)

    def open_and_find_it_cut(self, end: int) -> None:
        """A recovery that cuts the log. Until that has reached the disk, the old records may come back."""
        before = self.end
        self.log = PartitionLog.open(self.directory, CONFIG, topic_id=TOPIC_ID, storage=self.storage)
        assert self.log.log_end_offset == end
        self.histories.append(self.histories[-1][:end])
        self.end, self.end_at_most = end, before

    def sync(self) -> None:
        offset = self.log.log_end_offset
        self.log.sync(offset)
        self.synced = max(self.synced, offset)

    def roll(self) -> None:
        self.log.write_snapshot(self.log.log_end_offset, self.log.restore_producers())
        self.log.roll(self.log.log_end_offset)

    def assign_epoch(self, epoch: int) -> None:
        self.log.assign_epoch(epoch)
        self.epochs = self.log.leader_epochs

    def die(self) -> None:
        """Killed, with the power on: the kernel closes the files and keeps what was written."""
        self.log.close(clean=False)


def assert_recovers(path: Path, partition: Partition) -> None:
    """Open what a crash has left, compare it with the promises, go on, close and open again."""
    if not path.exists():
        assert not partition.exists, "the whole partition is gone"
        return
    storage = FaultyStorage()
    log = PartitionLog.open(str(path), CONFIG, topic_id=TOPIC_ID, storage=storage)
    assert "had reached the disk before" not in log.recovered
    start, end = log.log_start_offset, log.log_end_offset
    assert partition.synced <= end <= max(partition.end, partition.end_at_most)
    assert start <= partition.start_at_most
    found = b"".join(log.batches())
    batches = next((history[:end] for history in partition.histories if b"".join(history[start:end]) == found), None)
    assert batches is not None, f"offsets {start} to {end - 1} are not what was written"
    promised = [epoch for epoch in partition.epochs if epoch.start_offset <= partition.synced]
    assert [epoch for epoch in promised if epoch not in log.leader_epochs] == []
    expected = replay([], map(BatchHeader.parse, batches))
    assert sorted_by_id(log.restore_producers()) == sorted_by_id(expected)
    log.append(batch_at(end))
    log.roll(end + 1)
    log.append(batch_at(end + 1))
    log.close(clean=True)
    for file in path.glob("0*.*"):
        assert file.suffix == ".damaged" or verify(str(file)).sound, file
    again = PartitionLog.open(str(path), CONFIG, topic_id=TOPIC_ID, storage=storage)
    assert (again.log_end_offset, again.recovered) == (end + 2, "")
    again.close(clean=False)
    assert not storage.opened


def sorted_by_id(entries: list[ProducerEntry]) -> list[ProducerEntry]:
    return sorted(entries, key=lambda entry: entry.producer_id)


@dataclass
class Laboratory:
    """Runs a scenario, cuts the power after every call, and looks at what is left. Counts how often."""

    place: Path
    seeds: int
    recovery_every: int
    """Of so many crashes, one has its recovery interrupted as well."""
    crashes: int = 0
    recovery_crashes: int = 0

    def run(self, scenario: Callable[[Partition], None], name: str = "t-0") -> None:
        root = self.place / "disk"
        root.mkdir()
        storage = PowerLossStorage(str(root))
        partition = Partition(storage, str(root / name))
        storage.on_call = lambda operation: self._crash(partition, operation)
        scenario(partition)
        self._crash(partition, "the end")
        storage.close_all()

    def _crash(self, partition: Partition, operation: str) -> None:
        for seed in range(self.seeds):
            number = self.crashes
            self.crashes += 1
            target = self.place / "crash"
            draw = seed if seed < 4 else 10 * number + seed
            partition.storage.crash(str(target), draw)
            try:
                if number % self.recovery_every == 0:
                    self._interrupt_recovery(target, partition, draw)
                assert_recovers(target / Path(partition.directory).name, partition)
            except AssertionError as error:
                error.add_note(f"after call {partition.storage.calls}, {operation}, seed {draw}")
                raise
            shutil.rmtree(target)

    def _interrupt_recovery(self, found: Path, partition: Partition, seed: int) -> None:
        first = self.place / "first recovery"
        shutil.copytree(found, first)
        storage = PowerLossStorage(str(first))
        name = Path(partition.directory).name

        def crash_again(operation: str) -> None:
            for again in range(RECOVERY_SEEDS):
                target = self.place / "second crash"
                self.recovery_crashes += 1
                storage.crash(str(target), again if again < 2 else 1000 * seed + storage.calls)
                try:
                    assert_recovers(target / name, partition)
                except AssertionError as error:
                    error.add_note(f"while recovering, after call {storage.calls}, {operation}, draw {again}")
                    raise
                shutil.rmtree(target)

        storage.on_call = crash_again
        if (first / name).exists() or partition.exists:
            PartitionLog.open(str(first / name), CONFIG, topic_id=TOPIC_ID, storage=storage).close(clean=False)
        storage.close_all()
        shutil.rmtree(first)


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.long)])
def laboratory(request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    thorough = request.param == "all"
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="power-loss-") as place:  # thousands of small files
        made = Laboratory(Path(place), SEEDS, 1 if thorough else 40)
        yield made
    print(f"{made.crashes} crashes, {made.recovery_crashes} more while recovering")
    assert made.crashes > 50


def test_creating_a_partition(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        partition.assign_epoch(0)

    laboratory.run(scenario)


def test_records_that_are_synced_one_by_one(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        for _ in range(12):
            partition.append(1)
            partition.sync()

    laboratory.run(scenario)


def test_records_that_nobody_syncs(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        for _ in range(6):
            partition.append(7)
            partition.log.write_snapshot(partition.end, partition.log.restore_producers())

    laboratory.run(scenario)


def test_rolls_that_are_synced_late(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        for _ in range(2):
            partition.append(8)
            partition.roll()
            partition.append(8)
            partition.roll()
            partition.append(2)
            partition.sync()

    laboratory.run(scenario)


def test_a_sync_beside_appends_and_a_roll(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()

        def meanwhile() -> None:
            partition.append(4)
            partition.roll()
            partition.append(4)

        for _ in range(3):
            partition.append(5)
            partition.storage.meanwhile = meanwhile
            partition.sync()

    laboratory.run(scenario)


def test_retention(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        for _ in range(4):
            partition.append(5)
            partition.roll()
        partition.append(5)
        partition.sync()
        partition.start_at_most = 15
        partition.log.delete_segments([0, 5], now_ms=0)
        partition.log.delete_segments([10], now_ms=0)
        partition.log.remove_deleted(now_ms=2**60)
        partition.append(3)
        partition.sync()

    laboratory.run(scenario)


def test_a_clean_close_and_what_follows_it(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        for epoch in range(3):
            partition.assign_epoch(epoch)
            partition.append(9)
            if epoch == 1:
                partition.roll()
                partition.append(2)
            partition.log.close(clean=True)
            partition.synced = partition.end
            partition.open()
            partition.append(3)
        partition.die()

    laboratory.run(scenario)


def test_kills_before_the_power_goes(laboratory: Laboratory) -> None:
    """A successor finds all that was written, also what would not have survived the power, and must not build on it."""

    def scenario(partition: Partition) -> None:
        partition.open()
        for epoch in range(2):
            partition.assign_epoch(epoch)
            partition.append(4)
            partition.roll()
            partition.append(4)
            partition.die()
            partition.open()
            partition.sync()
            partition.append(3)
            partition.sync()

    laboratory.run(scenario)


@pytest.mark.parametrize("leaves_of", ["mkdir", "open", "rename"])
def test_a_kill_while_the_partition_was_being_created(laboratory: Laboratory, leaves_of: str) -> None:
    def scenario(partition: Partition) -> None:
        class KilledError(Exception):
            pass

        look = partition.storage.on_call

        def kill(operation: str) -> None:
            look(operation)
            if operation == leaves_of:
                raise KilledError

        partition.storage.on_call = kill
        with pytest.raises(KilledError):
            partition.open()
        partition.storage.on_call = look
        partition.open()
        for _ in range(6):
            partition.append(2)
            partition.sync()

    laboratory.run(scenario)


def test_recovery_that_cuts_a_torn_tail_and_goes_on(laboratory: Laboratory) -> None:
    def scenario(partition: Partition) -> None:
        partition.open()
        partition.append(6)
        partition.sync()
        partition.append(6)
        partition.roll()
        partition.append(6)
        partition.log.write_snapshot(18, partition.log.restore_producers())
        partition.die()
        damaged = Path(partition.directory) / f"{0:020d}.log"
        data = bytearray(damaged.read_bytes())
        data[len(b"".join(map(batch_at, range(9)))) + 70] ^= 1
        damaged.write_bytes(data)
        partition.open_and_find_it_cut(9)
        partition.append(10)
        partition.sync()
        partition.histories, partition.end_at_most = partition.histories[1:], 0
        partition.append(0)

    laboratory.run(scenario)


@pytest.mark.parametrize("what", [f"{5:020d}.log", f"{0:020d}.log", ".index"])
def test_a_failed_sync_and_the_rewriting_after_it(laboratory: Laboratory, what: str) -> None:
    """The disk keeps or loses what it refused; what it took before and what it takes afterwards is there."""

    def scenario(partition: Partition) -> None:
        partition.open()
        partition.append(3)
        partition.sync()
        partition.append(2)
        partition.roll()
        partition.append(5)
        refuse_once(partition.storage, what)
        with pytest.raises(OSError, match="refused"):
            partition.log.sync(10)
        partition.log.rewrite()
        partition.log.forget_failed_sync()
        partition.synced = 10
        partition.append(4)
        partition.sync()

    laboratory.run(scenario)


def refuse_once(storage: PowerLossStorage, part: str) -> None:
    take = storage.fdatasync

    def fdatasync(fd: int) -> None:
        if part in Path(f"/proc/self/fd/{fd}").readlink().name:
            del storage.__dict__["fdatasync"]
            raise OSError(5, "refused")
        take(fd)

    storage.__dict__["fdatasync"] = fdatasync
