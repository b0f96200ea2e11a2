"""The power goes out while another replica takes over, and while it leads, from a copy that was handed over unsynced.

What is then left of its log is a beginning of what it had, and with flush.messages=1 it has all that was acknowledged.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.partition_log import PartitionLog
from shmlog.settings import TopicConfig
from shmlog.testing.follower_rig import REPLICA_ID, lead_from, open_follower, open_leader, produce, take_over
from shmlog.testing.partition_rig import Rig
from shmlog.testing.power_loss import PowerLossStorage

SEEDS = 6


class Disk:
    """The new leader's: after each call to it, what the power may leave of it is opened."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, *, all_seeds: bool) -> None:
        self.root, self._target = place / "disk", place / "crash"
        self.root.mkdir()
        self.storage = PowerLossStorage(str(self.root))
        self.copy = self.root / "copy"
        self.rig: Rig | None = None
        self.lives_to_tell = 0
        monkeypatch.setattr("shmlog.partition.follower.OsStorage", lambda **_: self.storage)
        self._patch = monkeypatch
        self._all_seeds = all_seeds

    def lead(self) -> None:
        """From here on the partition's owner has this disk."""
        self._patch.setattr("shmlog.partition.opening._storage", lambda _: self.storage)
        self.storage.on_call = self._lose_power

    def _lose_power(self, operation: str) -> None:
        assert self.rig is not None
        acknowledged = self.rig.control.high_watermark if self.rig.config["flush.messages"] == "1" else 0
        whole = b"".join(path.read_bytes() for path in sorted(self.copy.glob("*.log")))
        calls = self.storage.calls
        for seed in range(SEEDS) if self._all_seeds else (calls % SEEDS,):
            self.storage.crash(str(self._target), seed if seed < 4 else 100 * calls + seed)
            what = f"after {operation}, seed {seed}"
            config = TopicConfig.from_mapping(self.rig.config)
            log = PartitionLog.open(str(self._target / "copy"), config, topic_id="A" * 22)
            found = b"".join(log.batches())
            assert whole.startswith(found), what
            assert log.log_end_offset >= acknowledged, f"{what}: {log.log_end_offset} of {acknowledged} are left"
            assert not damage.read(str(self._target / "copy")), what
            log.close(clean=False)
            shutil.rmtree(self._target)
            self.lives_to_tell += 1


FLUSH_MESSAGES = pytest.mark.parametrize("flush_messages", ["1", "9223372036854775807"])


@pytest.mark.slow
@FLUSH_MESSAGES
def test_a_log_is_a_beginning_of_what_it_was_when_the_power_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_messages: str
) -> None:
    assert lead_until_the_power_goes(Disk(tmp_path, monkeypatch, all_seeds=False), tmp_path, flush_messages) > 20


@pytest.mark.long
@FLUSH_MESSAGES
def test_a_log_is_a_beginning_of_what_it_was_whatever_the_power_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_messages: str
) -> None:
    assert lead_until_the_power_goes(Disk(tmp_path, monkeypatch, all_seeds=True), tmp_path, flush_messages) > 100


def lead_until_the_power_goes(disk: Disk, place: Path, flush_messages: str) -> int:
    """How often it went."""
    with open_leader(place / "leader", {"flush.messages": flush_messages}) as rig:
        disk.rig = rig
        with open_follower(rig, disk.copy) as follower:
            rig.in_sync = [REPLICA_ID]
            take_over(rig, 1)
            follower.work()
            lane = rig.lane()
            produce(rig, lane, 4)
            follower.work()
            rig.publisher.settle()
            produce(rig, lane, 10)  # over two segments; not shown yet
            follower.hand_over()
            produce(rig, lane, 3)
            rig.in_sync = []
            disk.lead()
            lead_from(rig, follower, 2)
            assert rig.control.high_watermark == 17
            produce(rig, rig.lane(producer_id=8), 4)
            assert rig.control.high_watermark == 21
            take_over(rig, 3)
            produce(rig, rig.lane(producer_id=9), 2)
            rig.keeper.sync()
    disk.storage.close_all()
    return disk.lives_to_tell
