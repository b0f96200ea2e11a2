"""Copies of the metadata log: what they have, what holds nobody up, and what comes back from them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from shmlog.clock import wall_ms
from shmlog.errors import StartError
from shmlog.log.mirror import Mirror, first_difference, look_for_sound
from shmlog.log.storage import OsStorage
from shmlog.settings import ClusterConfig
from shmlog.supervisor.meta_properties import identify_data_directory, identify_log_directory
from shmlog.supervisor.metadata import Catalog, metadata_directory
from shmlog.supervisor.metadata_copies import MetadataCopies
from shmlog.supervisor.metadata_restoring import restore
from shmlog.testing import wait_until
from shmlog.testing.storage import Failure, FaultyStorage

CONFIG = ClusterConfig.from_mapping({})
DAY_MS = 86_400_000
FIRST = "00000000000000000000.log"


class Disks:
    """A data directory, two log directories, and whoever has the metadata log open."""

    def __init__(self, place: Path) -> None:
        self.data, self.logs = place / "data", [place / "disk1", place / "disk2"]
        for directory in (self.data, *self.logs):
            directory.mkdir()
        self.cluster_id = identify_data_directory(str(self.data), None).cluster_id
        for directory in self.logs:
            identify_log_directory(str(directory), self.cluster_id, None)
        self.catalog: Catalog | None = None

    def open(self, *, copied: bool = True) -> Catalog:
        self.catalog = Catalog(str(self.data), CONFIG)
        if copied:
            self.catalog.copy_to(MetadataCopies(str(self.data), [str(one) for one in self.logs]))
        return self.catalog

    def run(self, *topics: str, copied: bool = True) -> None:
        """A supervisor comes, makes topics and goes."""
        catalog = self.open(copied=copied)
        for topic in topics:
            create(catalog, topic)
        self.close()

    def close(self) -> None:
        if self.catalog is not None:
            self.catalog.close(clean=True)
            self.catalog = None

    def restore(self) -> str:
        return restore(str(self.data), [str(one) for one in self.logs], self.cluster_id)

    def topics(self) -> list[str]:
        names = [topic.name for topic in self.open(copied=False).machine.topics()]
        self.close()
        return names


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    made = Disks(tmp_path)
    yield made
    made.close()


def create(catalog: Catalog, name: str) -> None:
    catalog.commit(catalog.machine.create_topic(name, topic_id=name, partitions=1).records)


def log_of(directory: Path) -> Path:
    return Path(metadata_directory(str(directory)))


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in log_of(directory).glob("*.log")}


def test_who_is_told_of_a_decision_finds_it_in_every_copy(disks: Disks) -> None:
    catalog = disks.open()
    for name in ("one", "two", "three"):
        create(catalog, name)
        assert files(disks.logs[0]) == files(disks.logs[1]) == files(disks.data)


def test_a_copy_rolls_where_the_log_does(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = disks.open()
    create(catalog, "before")
    monkeypatch.setattr("shmlog.supervisor.metadata.wall_ms", lambda: wall_ms() + 30 * DAY_MS)
    create(catalog, "after")
    assert len(files(disks.data)) == 2
    assert files(disks.logs[0]) == files(disks.data)


def test_a_copy_that_was_not_there_gets_all_of_it(disks: Disks) -> None:
    disks.run("one", "two", copied=False)
    disks.run("three")
    assert files(disks.logs[0]) == files(disks.data)


# --- a disk that fails ------------------------------------------------------------------------------------------------


def test_a_copy_whose_disk_fails_holds_nobody_up_is_said_and_comes_back(
    disks: Disks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmlog.supervisor.metadata_copies.COPY_RETRY_S", 0.01)
    disks.run("one", copied=False)
    storage = FaultyStorage(failures=[Failure("pwrite", ".log", times=5)])
    copies = MetadataCopies(str(disks.data), [str(disks.logs[0])], storage)
    copies.bring((0, log_of(disks.data).joinpath(FIRST).stat().st_size))
    assert f"in {log_of(disks.logs[0])} is behind and waited for no more: Input/output error" in caplog.text
    wait_until(lambda: files(disks.logs[0]) == files(disks.data))
    copies.close()
    storage.close_all()


class SlowStorage(OsStorage):
    """A disk that takes its time, as long as `is_slow`."""

    is_slow = True
    syncs = 0

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        if self.is_slow:
            threading.Event().wait(0.2)
        self.syncs += 1

    def has_synced_since(self, syncs: int) -> bool:
        return self.syncs > syncs


def test_a_copy_whose_disk_is_slow_holds_up_one_decision_and_is_waited_for_again_when_it_keeps_up(
    disks: Disks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmlog.supervisor.metadata_copies.COPY_PATIENCE_S", 0.1)
    caplog.set_level("INFO")
    storage = SlowStorage()
    catalog = disks.open(copied=False)
    catalog.copy_to(MetadataCopies(str(disks.data), [str(disks.logs[0])], storage))
    for name in ("one", "two", "three"):
        synced = storage.syncs
        create(catalog, name)
        wait_until(partial(storage.has_synced_since, synced))
    assert caplog.text.count("is behind and waited for no more: that takes longer than 0.1 s") == 1
    storage.is_slow = False
    numbers = count(4)

    def keeps_up() -> bool:
        create(catalog, f"topic{next(numbers)}")
        return "keeps up again" in caplog.text

    wait_until(keeps_up)
    create(catalog, "last")
    assert files(disks.logs[0]) == files(disks.data)


def test_a_file_whose_sync_failed_is_not_synced_again_but_replaced(disks: Disks) -> None:
    disks.run("one", copied=False)
    source, target = log_of(disks.data), log_of(disks.logs[0])
    size = source.joinpath(FIRST).stat().st_size
    storage = FaultyStorage(failures=[Failure("fdatasync", ".log", times=1)])
    mirror = Mirror(storage, str(source), str(target), {})
    with pytest.raises(OSError, match="Input/output"):
        mirror.bring(0, size)
    before = target.joinpath(FIRST).stat().st_ino
    mirror.bring(0, size)
    assert target.joinpath(FIRST).stat().st_ino != before
    assert files(disks.logs[0]) == files(disks.data)
    assert storage.believed == []
    storage.close_all()


# --- what comes back --------------------------------------------------------------------------------------------------


def test_with_all_disks_in_order_nothing_is_restored(disks: Disks) -> None:
    disks.run("one")
    assert disks.restore() == ""


def test_a_log_that_is_gone_comes_back_from_its_copy(disks: Disks) -> None:
    disks.run("one", "two")
    shutil.rmtree(log_of(disks.data))
    said = disks.restore()
    assert f"{log_of(disks.data)} ended at offset 0" in said
    assert f"were restored from its copy {log_of(disks.logs[0])}" in said
    assert disks.topics() == ["one", "two"]


def test_a_log_that_forgot_its_end_gets_it_back(disks: Disks) -> None:
    disks.run("one")
    kept = shutil.copytree(disks.data, disks.data.with_name("backup"))
    disks.run("two")
    shutil.rmtree(disks.data)
    shutil.move(kept, disks.data)
    assert "offsets up to" in disks.restore()
    assert disks.topics() == ["one", "two"]


@pytest.mark.parametrize("byte", [10, 200, -5])
def test_bytes_that_are_spoiled_are_put_right_and_what_only_the_log_has_behind_them_stays(
    disks: Disks, byte: int
) -> None:
    disks.run("one", "two", "three")
    whole = log_of(disks.data).joinpath(FIRST).read_bytes()
    spoiled = bytearray(whole)
    spoiled[byte] ^= 0xFF
    log_of(disks.data).joinpath(FIRST).write_bytes(spoiled + b"torn")
    assert disks.restore()
    assert log_of(disks.data).joinpath(FIRST).read_bytes() == whole + b"torn"
    assert disks.topics() == ["one", "three", "two"]


def test_the_longest_copy_counts(disks: Disks) -> None:
    disks.run("one")
    shutil.copytree(log_of(disks.logs[0]), disks.data.with_name("old"))
    disks.run("two")
    shutil.rmtree(log_of(disks.data))
    shutil.rmtree(log_of(disks.logs[0]))
    shutil.move(disks.data.with_name("old"), log_of(disks.logs[0]))
    assert str(log_of(disks.logs[1])) in disks.restore()
    assert disks.topics() == ["one", "two"]


def test_a_copy_that_says_something_else_is_refused_with_both_paths(disks: Disks) -> None:
    disks.run("one")
    kept = shutil.copytree(disks.data, disks.data.with_name("backup"))
    disks.run("two", "three")
    shutil.rmtree(disks.data)
    shutil.move(kept, disks.data)
    disks.run("other", copied=False)
    with pytest.raises(StartError) as refused:
        disks.restore()
    assert f"{log_of(disks.data)} and {log_of(disks.logs[0])} are to be the same metadata log" in str(refused.value)
    assert disks.topics() == ["one", "other"]


def test_the_copy_of_another_cluster_is_passed_over(disks: Disks) -> None:
    disks.run("one")
    shutil.rmtree(log_of(disks.data))
    assert restore(str(disks.data), [str(one) for one in disks.logs], "another") == ""


def test_a_restoring_that_was_killed_is_finished_by_the_next(disks: Disks) -> None:
    disks.run("one", "two")
    whole = files(disks.data)
    for size in range(0, len(whole[FIRST]), 7):
        log_of(disks.data).joinpath(FIRST).write_bytes(whole[FIRST][:size])
        disks.restore()
        assert files(disks.data) == whole


# --- comparing --------------------------------------------------------------------------------------------------------


def test_what_is_sound_ends_where_a_segment_is_missing(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    disks.run("one")
    monkeypatch.setattr("shmlog.supervisor.metadata.wall_ms", lambda: wall_ms() + 30 * DAY_MS)
    disks.run("two")
    assert len(look_for_sound(OsStorage(), str(log_of(disks.data))).sizes) == 2
    log_of(disks.data).joinpath(FIRST).unlink()
    nothing = look_for_sound(OsStorage(), str(log_of(disks.data)))
    assert (nothing.sizes, nothing.end_offset) == ({}, 0)
    assert disks.restore()
    assert disks.topics() == ["one", "two"]


def test_a_log_that_rolled_elsewhere_is_another_log(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    disks.run("one")
    kept = shutil.copytree(disks.data, disks.data.with_name("backup"))
    disks.run("two", "three", copied=False)
    one = look_for_sound(OsStorage(), str(log_of(disks.data)))
    shutil.rmtree(disks.data)
    shutil.move(kept, disks.data)
    monkeypatch.setattr("shmlog.supervisor.metadata.wall_ms", lambda: wall_ms() + 30 * DAY_MS)
    disks.run("two", copied=False)
    other = look_for_sound(OsStorage(), str(log_of(disks.data)))
    assert len(other.sizes) > len(one.sizes)
    assert first_difference(OsStorage(), one, other)
    assert first_difference(OsStorage(), other, one)
