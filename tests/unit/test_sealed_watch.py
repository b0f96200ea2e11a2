"""An owner looks at older segments after its start, one at a time, and tells its supervisor what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import SegmentsLookedAt
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import segment_path
from shmlog.log.storage import OsStorage
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.partition.owner import OwnerAgent
from shmlog.partition.sealed_watch import LOOK_AFTER_NS, LOOK_EVERY_NS, NEVER_NS, SealedWatch
from shmlog.settings import TopicConfig
from shmlog.testing.damage import fill_with_garbage
from shmlog.testing.known_log import batch_at, log_file
from shmlog.testing.partition_rig import Rig, open_rig, word_of_ready
from shmlog.testing.storage import Failure, FaultyStorage

SEGMENTS = 4


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0") as made:
        made.keeper.close(clean=True)
        made.control.mapping.store(layout.CTL_STATE, OwnerState.CLOSED)
        log = open_log(made.directory, OsStorage())
        for _ in range(SEGMENTS):
            log.append(batch_at(log.log_end_offset))
            log.roll(log.log_end_offset)
        log.write_snapshot(log.log_end_offset, [])
        log.close(clean=True)
        yield made


def open_log(directory: Path, storage: OsStorage) -> PartitionLog:
    return PartitionLog.open(str(directory), TopicConfig.from_mapping({}), topic_id="A" * 22, storage=storage)


def watch_over(log: PartitionLog, storage: OsStorage, told: list[SegmentsLookedAt]) -> SealedWatch:
    return SealedWatch(log.sealed, storage, lambda: None, told.append)


def test_an_owner_tells_what_it_finds_and_sleeps_again_when_it_has_looked_at_all(rig: Rig) -> None:
    fill_with_garbage(Path(segment_path(str(rig.directory), 2, ".timeindex")))
    data = bytearray(log_file(rig.directory, 4).read_bytes())
    log_file(rig.directory, 4).write_bytes(data[:-1])
    supervisor, theirs = Channel.pair()
    owners_end = Channel(theirs)
    owner = OwnerAgent(rig.spec_for(5), owners_end)
    word_of_ready(supervisor)
    first = owner._sealed_watch.next_deadline_ns
    assert first - monotonic_ns() <= LOOK_AFTER_NS
    assert owner._sleep_s(first) == 0.0
    owner.work(first - 1)
    assert owner._sealed_watch.next_deadline_ns == first
    for number in range(SEGMENTS):
        owner.work(first + number * LOOK_EVERY_NS)
    rebuilt, damaged = supervisor.receive(), supervisor.receive()
    assert isinstance(rebuilt, SegmentsLookedAt)
    assert rebuilt.message == f"rebuilt the indexes of {log_file(rig.directory, 2)}, which did not fit it"
    assert isinstance(damaged, SegmentsLookedAt)
    assert "from offset 4 on: the batch at byte 0 is not sound" in damaged.message
    assert supervisor.receive() is None
    assert owner._sealed_watch.next_deadline_ns == NEVER_NS
    owner._keeper.close(clean=False)
    owners_end.close()
    supervisor.close()


def test_a_disk_without_room_is_tried_again_later_and_what_retention_found_is_told(rig: Rig) -> None:
    storage, told = FaultyStorage(), list[SegmentsLookedAt]()
    fill_with_garbage(Path(segment_path(str(rig.directory), 0, ".index")))
    fill_with_garbage(Path(segment_path(str(rig.directory), 2, ".index")))
    log = open_log(rig.directory, storage)
    watch = watch_over(log, storage, told)
    storage.failures.append(Failure("create", ".rebuild", 28))
    now_ns = watch.next_deadline_ns
    watch.look(now_ns)
    assert (watch.next_deadline_ns, told) == (now_ns + LOOK_AFTER_NS, [])
    storage.failures.clear()
    list(log.segments())  # as retention may
    watch.look(watch.next_deadline_ns)
    assert [said.message.count("which did not fit it") for said in told] == [2]
    assert watch.next_deadline_ns == NEVER_NS
    log.close(clean=True)


def test_a_log_of_one_segment_is_never_watched(tmp_path: Path) -> None:
    storage = OsStorage()
    log = open_log(tmp_path / "flights-0", storage)
    assert watch_over(log, storage, []).next_deadline_ns == NEVER_NS
    log.close(clean=True)
