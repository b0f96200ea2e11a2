"""Settings of a topic that are changed while its partitions run: owners and followers go by them without a restart.

Every topic setting is in one of the two tables: what is tried here, and where else it is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.clock import wall_ms
from shmlog.control.channel import Channel
from shmlog.control.messages import AlterConfig, ApplyRetention, LogSize, Message
from shmlog.memory import layout
from shmlog.partition.owner import OwnerAgent
from shmlog.setting_tables import TOPIC
from shmlog.testing import wait_until
from shmlog.testing.follower_rig import FollowerRig, open_follower, open_leader, produce
from shmlog.testing.partition_rig import Lane, Rig, open_rig, word_of_ready

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "cleanup.policy": "tests/scenarios/test_demo_daemon.py",
    "max.message.bytes": "tests/scenarios/test_lanes.py",
    "compression.type": "tests/scenarios/test_compression.py",
    "min.insync.replicas": "tests/scenarios/test_min_insync_replicas.py",
    "unclean.leader.election.enable": "tests/scenarios/test_leaders_that_move.py",
    "message.timestamp.type": "tests/unit/test_record_terms.py",
    "message.timestamp.before.max.ms": "tests/unit/test_record_terms.py",
    "message.timestamp.after.max.ms": "tests/unit/test_record_terms.py",
}
DECIDED_ANEW = {
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "max.compaction.lag.ms",
    "delete.retention.ms",
}
"""Decisions about compaction are given the settings of that moment."""
CONFIG = {"max.message.bytes": "65536", "retention.ms": "-1", "file.delete.delay.ms": "600000"}


class Owner:
    """An owner's agent over a rig's partition, with a lane to it, and its supervisor's end of the channel."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.housekeeping_s = 0
        self.lane: Lane = rig.lane(codec=0)
        self.channel, theirs = Channel.pair()
        self.owners_end = Channel(theirs)
        rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
        self.agent = OwnerAgent(rig.spec, self.owners_end)
        word_of_ready(self.channel)

    def alter(self, name: str, value: object) -> None:
        self.rig.config[name] = str(value)
        assert self.order(AlterConfig(self.rig.config)) is None

    def order(self, message: Message) -> Message | None:
        self.channel.send(message)
        self.agent.work(monotonic_ns())
        return self.channel.receive()

    def send(self, count: int, size: int = 1000, letter: bytes = b"x") -> None:
        """So many batches of one record."""
        for _ in range(count):
            self.lane.send_all(letter * size)
            self.agent.work(monotonic_ns())
            self.agent.work(monotonic_ns())  # the first time it may only have synced what was there
            self.lane.writer.reclaim()

    def keep_house(self) -> list[int]:
        """As if a second had passed; the segments that there are now."""
        self.housekeeping_s += 2
        self.agent.work(monotonic_ns() + self.housekeeping_s * 1_000_000_000)
        return self.bases()

    def bases(self) -> list[int]:
        return sorted(int(path.stem) for path in self.rig.directory.glob("*.log"))

    def start(self) -> int:
        return self.rig.control.log_start_offset


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    with open_rig(tmp_path / "flights-0", CONFIG) as rig:
        made = Owner(rig)
        yield made
        made.channel.close()
        made.owners_end.close()


def retention_ms(owner: Owner) -> None:
    owner.send(3)
    owner.order(ApplyRetention(wall_ms() + 10_000))
    assert owner.start() == 0
    owner.alter("retention.ms", 5000)
    owner.order(ApplyRetention(wall_ms() + 10_000))
    assert owner.start() == 3


def retention_bytes(owner: Owner) -> None:
    owner.send(3)
    owner.alter("retention.bytes", 0)
    owner.order(ApplyRetention(wall_ms()))
    assert owner.start() == 3


def retention_topic_bytes(owner: Owner) -> None:
    owner.alter("retention.topic.bytes", -1)
    assert owner.order(ApplyRetention(wall_ms())) is None
    owner.alter("retention.topic.bytes", 5)
    assert owner.order(ApplyRetention(wall_ms())) == LogSize(0)


def segment_bytes(owner: Owner) -> None:
    owner.send(20, 60_000)
    assert owner.bases() == [0]
    owner.alter("segment.bytes", 1 << 20)
    owner.send(20, 60_000)
    assert owner.bases() == [0, 20, 37]


def segment_ms(owner: Owner) -> None:
    owner.send(1)
    owner.keep_house()
    assert owner.bases() == [0]
    owner.alter("segment.ms", 1)
    wait_until(lambda: owner.keep_house() == [0, 1])


def index_interval_bytes(owner: Owner) -> None:
    def entries(base: int) -> int:
        return (owner.rig.directory / f"{base:020}.index").stat().st_size // 8

    owner.send(20)
    before = entries(0)
    owner.alter("index.interval.bytes", 1000)
    owner.alter("segment.ms", 1)
    wait_until(lambda: len(owner.keep_house()) == 2)
    owner.alter("segment.ms", 600_000)
    owner.send(20)
    assert entries(20) > 2 * before > 0


def file_delete_delay_ms(owner: Owner) -> None:
    def deleted() -> list[Path]:
        return list(owner.rig.directory.glob("*.deleted"))

    owner.alter("retention.bytes", 0)
    owner.send(1)
    owner.order(ApplyRetention(wall_ms()))
    assert deleted()
    owner.alter("file.delete.delay.ms", 0)
    before = len(deleted())
    owner.send(1)
    owner.order(ApplyRetention(wall_ms()))
    assert len(deleted()) == before  # the older ones keep their time, the new ones went at once


def flush_messages(owner: Owner) -> None:
    owner.send(2)
    assert owner.rig.control.synced_offset < 2
    owner.alter("flush.messages", 1)
    owner.send(1)
    assert owner.rig.control.synced_offset == owner.rig.control.high_watermark == 3
    owner.alter("flush.messages", 1000)
    owner.send(1)
    assert (owner.rig.control.synced_offset, owner.rig.control.high_watermark) == (3, 4)


def flush_ms(owner: Owner) -> None:
    owner.send(1)
    owner.alter("flush.ms", 1)
    wait_until(lambda: owner.agent.work(monotonic_ns()) or owner.rig.control.synced_offset == 1)


def shm_ring_bytes(owner: Owner) -> None:
    owner.alter("shm.ring.bytes", 2 << 20)
    owner.send(40, 60_000)  # more than a ring in less than a second
    owner.keep_house()
    assert owner.rig.control.ring_bytes == 2 << 20


def levels(codec: str, low: int, high: int) -> Callable[[Owner], None]:
    def level(owner: Owner) -> None:
        sizes = []
        owner.alter("compression.type", codec)
        for one in (low, high):
            owner.alter(f"compression.{codec}.level", one)
            before = owner.rig.control.mapping.load(layout.CTL_TAIL_POS)
            owner.lane.send_all(b"".join(b"%d;%d," % (number * number, number % 7) for number in range(4000)))
            owner.agent.work(monotonic_ns())
            sizes.append(owner.rig.control.mapping.load(layout.CTL_TAIL_POS) - before)
        assert sizes[0] > sizes[1]

    return level


def replica_lag_time_max_ms(owner: Owner) -> None:
    owner.alter("replica.lag.time.max.ms", 20)
    assert owner.agent._followers._machine.lag_max_ns == 20_000_000


TRIED: dict[str, Callable[[Owner], None]] = {
    "retention.ms": retention_ms,
    "retention.bytes": retention_bytes,
    "retention.topic.bytes": retention_topic_bytes,
    "segment.bytes": segment_bytes,
    "segment.ms": segment_ms,
    "flush.messages": flush_messages,
    "flush.ms": flush_ms,
    "index.interval.bytes": index_interval_bytes,
    "file.delete.delay.ms": file_delete_delay_ms,
    "compression.gzip.level": levels("gzip", 1, 9),
    "compression.lz4.level": levels("lz4", 9, 12),
    "compression.zstd.level": levels("zstd", -5, 19),
    "replica.lag.time.max.ms": replica_lag_time_max_ms,
    "shm.ring.bytes": shm_ring_bytes,
}


@pytest.mark.parametrize("setting", list(TRIED))
def test_an_owner_goes_by_a_setting_that_is_changed_while_it_runs(owner: Owner, setting: str) -> None:
    TRIED[setting](owner)


def test_each_setting_of_a_topic_is_tried_somewhere_while_its_topic_is_in_use() -> None:
    assert set(TOPIC) == {*TRIED, *ELSEWHERE, *DECIDED_ANEW}
    for name, file in ELSEWHERE.items():
        text = (ROOT / file).read_text()
        assert any(form in text for form in (f'"{name}"', f"{name}=", f"{name.replace('.', '_')}=")), (file, name)


def alter(follower: FollowerRig, **settings: object) -> None:
    dotted = {name.replace("_", "."): str(value) for name, value in settings.items()}
    follower.supervisor.send(AlterConfig({**follower.spec.config, **dotted}))
    follower.work()


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "leader", {"file.delete.delay.ms": "600000", "index.interval.bytes": "100000"}) as made:
        yield made


@pytest.fixture
def follower(leader: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(leader, tmp_path / "follower") as made:
        yield made


def test_a_follower_syncs_as_its_topic_says_now(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 3)
    follower.work()
    assert follower.region.synced_offset < 3
    alter(follower, flush_messages=1)
    produce(leader, lane, 1)
    follower.work()
    assert follower.region.synced_offset == 4
    alter(follower, flush_messages=1000, flush_ms=1)
    produce(leader, lane, 1)

    def is_synced() -> bool:
        follower.work()
        return follower.region.synced_offset == 5

    wait_until(is_synced)


def test_a_follower_indexes_and_removes_files_as_its_topic_says_now(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 60)
    follower.work()
    first, *_, last = sorted(follower.directory.glob("*.index"))
    assert first.stat().st_size == 0
    alter(follower, index_interval_bytes=300, file_delete_delay_ms=0)
    produce(leader, lane, 60)
    follower.work()
    sealed = sorted(follower.directory.glob("*.index"))[-2]
    assert sealed > last
    assert sealed.stat().st_size > 0
    leader.config["retention.bytes"] = "3000"
    leader.keeper.configure(leader.opened.config.__class__.from_mapping(leader.config))
    leader.keeper.apply_retention(wall_ms())
    follower.keep_house()
    assert follower.following.copy.log.log_start_offset > 0
    assert list(leader.directory.glob("*.deleted"))
    assert not list(follower.directory.glob("*.deleted"))
