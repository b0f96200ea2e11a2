"""disk.reserve.bytes: what goes early, who is told, and what owners and followers do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.control.messages import FreeDisk, HoldRecords
from shmlog.limits import HOLD_LEASE_S
from shmlog.machines.disk_reserve import OldSegment, decide_reserve
from shmlog.memory import layout
from shmlog.native import publish
from shmlog.partition.disk_room import DiskRoom
from shmlog.settings import TopicConfig, effective
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.disk_reserve import DiskReserve
from shmlog.testing.follower_rig import assert_same, open_follower, open_leader, produce
from shmlog.testing.partition_rig import Rig, open_rig

# --- what goes --------------------------------------------------------------------------------------------------------


def test_the_segment_with_the_oldest_records_goes_first_whoever_has_it() -> None:
    logs = {1: [OldSegment(10, 5, 100), OldSegment(20, 5, 300)], 2: [OldSegment(7, 5, 200), OldSegment(9, 5, 400)]}
    for free, below, refuses in ((15, {}, False), (14, {1: 10}, False), (6, {1: 10, 2: 7}, False)):
        decision = decide_reserve(free, 15, logs)
        assert (decision.delete_below, decision.refuses) == (below, refuses)
    last = decide_reserve(0, 21, logs)
    assert (last.delete_below, last.refuses) == ({1: 20, 2: 9}, True)
    assert decide_reserve(0, 1, {}).refuses


@given(
    st.integers(0, 100),
    st.integers(1, 200),
    st.lists(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 50)), max_size=5), max_size=4),
)
def test_no_more_goes_than_the_reserve_needs(free: int, reserve: int, sizes: list[list[tuple[int, int]]]) -> None:
    logs = {
        number: [OldSegment(10 * (place + 1), size, newest) for place, (size, newest) in enumerate(log)]
        for number, log in enumerate(sizes)
    }
    decision = decide_reserve(free, reserve, logs)
    below = decision.delete_below
    gone = [one for number, log in logs.items() for one in log if one.end_offset <= below.get(number, 0)]
    freed = free + sum(one.size_bytes for one in gone)
    assert decision.refuses == (freed < reserve)
    if decision.refuses:
        assert len(gone) == sum(len(log) for log in logs.values())
    elif gone:
        ends = [logs[number][offset // 10 - 1] for number, offset in below.items()]
        assert any(freed - one.size_bytes < reserve for one in ends)


def test_of_each_log_one_segment_more_is_looked_at_than_goes() -> None:
    seen = []

    def segments() -> Iterator[OldSegment]:
        for number in range(5):
            seen.append(number)
            yield OldSegment(number + 1, 10, number)

    assert decide_reserve(0, 20, {0: segments()}).delete_below == {0: 2}
    assert seen == [0, 1, 2]


# --- who is told ------------------------------------------------------------------------------------------------------


class Disks:
    """Two disks with a log each, of which the test says how much is free; partition 1 follows from disk a to disk b."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, policy: str = "delete") -> None:
        self.free = {"a": 100, "b": 1000}
        self.sent: list[tuple[str, object]] = []
        for disk, log, sizes in (("a", "t-0", (30, 40, 9)), ("b", "t-1", (50, 9)), ("a", "t-1", (50, 9))):
            (directory / disk / log).mkdir(parents=True)
            for number, size in enumerate(sizes):
                path = directory / disk / log / f"{100 * number:020}.log"
                path.write_bytes(bytes(size))
                os.utime(path, (1000 + number + (log == "t-1") * 10,) * 2)
        topic = SimpleNamespace(topic_id="id", is_hidden=False)
        partitions = [
            SimpleNamespace(partition_id=0, topic=topic, leader=0, replicas={0: "a"}, log_names={0: "t-0"}),
            SimpleNamespace(
                partition_id=1, topic=topic, leader=0, replicas={0: "b", 1: "a"}, log_names={0: "t-1", 1: "t-1"}
            ),
        ]
        config = effective({"cleanup.policy": policy})
        machine = SimpleNamespace(partitions=lambda: partitions, effective_config=lambda topic: config)
        owners = SimpleNamespace(running=lambda one: one, send=lambda one, order: self.sent.append((f"o{one}", order)))
        follower = SimpleNamespace(region=object(), send=lambda order: self.sent.append(("f1", order)))
        followers = SimpleNamespace(process=lambda one, replica_id: follower if (one, replica_id) == (1, 1) else None)
        directories = LogDirectories([LogDirectory(disk, str(directory / disk)) for disk in self.free])
        parts: Any = (SimpleNamespace(machine=machine), directories, owners, followers, 150)
        self.reserve = DiskReserve(*parts)
        real_stat = os.stat
        monkeypatch.setattr(
            os, "statvfs", lambda path: SimpleNamespace(f_bavail=self.free[Path(path).name], f_frsize=1)
        )
        monkeypatch.setattr(
            os,
            "stat",
            lambda path, *rest, **named: (
                SimpleNamespace(st_dev=Path(path).name)
                if str(path) in [one.path for one in directories.all()]
                else real_stat(path, *rest, **named)
            ),
        )

    def look(self) -> list[tuple[str, object]]:
        self.sent.clear()
        self.reserve.look()
        return self.sent


def test_a_disk_below_its_reserve_has_old_segments_deleted_by_owners_wherever_those_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = Disks(tmp_path, monkeypatch)
    assert disks.look() == [("o0", FreeDisk(200)), ("f1", FreeDisk(0))]  # 70 of partition 0: older, and enough
    disks.free["a"] = 40
    assert disks.look() == [("o0", FreeDisk(200)), ("o1", FreeDisk(100)), ("f1", FreeDisk(100))]
    assert disks.reserve.refusal("a") == ""


def test_a_disk_on_which_nothing_may_go_takes_no_records_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = Disks(tmp_path, monkeypatch, policy="compact")
    sent = disks.look()
    reason = disks.reserve.refusal("a")
    assert reason.startswith(f"the disk of {tmp_path / 'a'} has 100 bytes free, less than disk.reserve.bytes (150)")
    assert disks.reserve.refusal("b") == ""
    both = [("o0", FreeDisk(0)), ("o0", HoldRecords(reason)), ("f1", FreeDisk(0)), ("f1", HoldRecords(reason))]
    assert sent == both
    assert disks.look() == both  # it is a lease
    disks.free["a"] = 150
    assert disks.look() == [("o0", HoldRecords("")), ("f1", HoldRecords(""))]
    assert disks.reserve.refusal("a") == ""
    assert disks.look() == []


# --- what is done about it --------------------------------------------------------------------------------------------


def room_of(rig: Rig) -> DiskRoom:
    return DiskRoom(rig.control, rig.keeper, rig.publisher, str(rig.directory), rig.reports.append)


def test_an_owner_that_is_held_takes_no_records_until_told_or_until_nobody_says_so_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_rig(tmp_path / "flights-0") as rig:
        room, lane = room_of(rig), rig.lane()
        room.obey(HoldRecords("the disk of d is nearly full"))
        lane.send_all(b"a")
        assert room.run(rig.publisher, 10**9, closes=False) == (publish.IDLE, "the disk of d is nearly full")
        assert rig.values() == []
        room.obey(HoldRecords(""))
        assert room.run(rig.publisher, 10**9, closes=False) == (publish.IDLE, "")
        assert rig.values() == [b"a"]
        room.obey(HoldRecords("again"))
        lane.send_all(b"b")
        room.run(rig.publisher, 10**9, closes=True)
        assert rig.values() == [b"a", b"b"]
        lane.send_all(b"c")
        later_ns = monotonic_ns() + int(HOLD_LEASE_S * 1e9)
        monkeypatch.setattr("shmlog.partition.disk_room.monotonic_ns", lambda: later_ns)
        assert room.run(rig.publisher, 10**9, closes=False)[1] == ""
        assert rig.values() == [b"a", b"b", b"c"]


def rolled(rig: Rig) -> None:
    """Three sealed segments of two records each, and an active one with two."""
    lane = rig.lane()
    for number in range(4):
        if number:
            rig.keeper.roll()
        for _ in range(2):
            lane.send_all(b"%d" % number)
            rig.run()
            lane.writer.reclaim()


def start_after(rig: Rig, below: int) -> int:
    room_of(rig).obey(FreeDisk(below))
    return rig.control.log_start_offset


def test_segments_go_early_as_whole_ones_below_the_offset_and_their_files_at_once(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0") as rig:
        rolled(rig)
        assert [start_after(rig, below) for below in (1, 2, 5, 8, 100)] == [0, 2, 4, 6, 6]
        assert sorted(path.name for path in rig.directory.glob("*.log*")) == [f"{6:020}.log"]
        assert [record.value for record in rig.read_all(6)] == [b"3", b"3"]


@pytest.mark.parametrize(
    "keeps",
    [{"retention.ms": "-1", "retention.topic.bytes": "-1"}, {"cleanup.policy": "compact"}],
)
def test_nothing_goes_early_of_a_topic_that_keeps_its_records(tmp_path: Path, keeps: dict[str, str]) -> None:
    with open_rig(tmp_path / "flights-0") as rig:
        rolled(rig)
        rig.keeper.configure(TopicConfig.from_mapping(rig.config | keeps))
        assert start_after(rig, 100) == 0


def test_nothing_goes_early_that_is_not_below_the_high_watermark(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0") as rig:
        rolled(rig)
        rig.control.mapping.store(layout.CTL_HW_OFFSET, 3)
        assert start_after(rig, 100) == 2


def test_a_follower_that_is_held_takes_nothing_and_goes_on_when_told(tmp_path: Path) -> None:
    with open_leader(tmp_path / "leader") as rig, open_follower(rig, tmp_path / "follower") as follower:
        lane = rig.lane()
        follower.work()
        follower.supervisor.send(HoldRecords("the disk of d is nearly full"))
        produce(rig, lane, 5)
        follower.work()
        assert (follower.end_offset, follower.following.waits_for) == (0, "the disk of d is nearly full")
        follower.supervisor.send(HoldRecords(""))
        follower.work()
        follower.try_again()
        assert_same(follower)
        follower.supervisor.send(HoldRecords("again"))
        follower.work()
        assert follower.following.waits_for == "again"
        follower.supervisor.send(HoldRecords(""))
        follower.try_again()
        assert follower.following.waits_for == ""  # with nothing to take
