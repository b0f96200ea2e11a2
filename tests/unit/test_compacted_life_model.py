"""The life of a compacted log and of a copy of it against a list: whatever is produced, deleted, compacted, killed,
rebooted and elected, in any order, a reader of either ends with the newest record of each key, and sees no other.

Both are cleaned by the code of the cleaner's own process, with so little memory that it often takes several passes.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmlog.control.messages import CleanLog, LogCleaned, SwapRefused
from shmlog.log.cold import ColdReader
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.storage import OsStorage
from shmlog.native.compaction import SLOT_BYTES
from shmlog.native.records import Record, decode_batches
from shmlog.partition.cleaner import clean_log
from shmlog.testing.follower_rig import FollowerRig, lose_shared_memory, open_leader, take_over
from shmlog.testing.partition_rig import TOPIC_NAME

CONFIG = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0", "delete.retention.ms": "0"}
KEYS = 7
MAP_SLOTS = 6
READ_BYTES = 1 << 20
STORAGE = OsStorage()


def no_pace(read: int, written: int) -> None:
    """As fast as it goes."""


class CompactedLife(RuleBasedStateMachine):
    """`records[offset]` is (key, value); a value of None deletes the key. Records before `start` were deleted."""

    @initialize()
    def begin(self) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []
        self.start = 0
        self.epoch = 0
        self.exits = ExitStack()
        self.place = Path(tempfile.mkdtemp(prefix="shmlog-life-"))
        self.exits.callback(shutil.rmtree, self.place, ignore_errors=True)
        self.rig = self.exits.enter_context(open_leader(self.place / "leader", CONFIG))
        self.follower = FollowerRig(self.rig, self.place / "copy")
        self.exits.callback(lambda: self.follower.kill() if self.follower.lives else None)

    def teardown(self) -> None:
        if hasattr(self, "exits"):
            self.exits.close()

    # --- what happens to it -------------------------------------------------------------------------------------------

    @rule(keys=st.lists(st.integers(0, KEYS - 1), min_size=1, max_size=30), deletes=st.integers(0, 15))
    def produce(self, keys: list[int], deletes: int) -> None:
        lane = self.rig.lane(producer_id=100 + self.rig.lanes_made)
        for number, key in enumerate(keys):
            value = None if number == deletes else b"%d;" % len(self.records) + b"." * (17 * key)
            lane.send(TOPIC_NAME, value, b"key %d" % key)
            self.records.append((b"key %d" % key, value))
            if number % 3 == 0:  # so that batches are of several sizes
                self.rig.run()
                lane.writer.reclaim()
        self.rig.run()
        lane.writer.reclaim()
        self.rig.close_lane(self.rig.lanes_made)

    @rule()
    def roll(self) -> None:
        self.rig.keeper.roll()

    @rule(part=st.floats(0, 1))
    def delete_records(self, part: float) -> None:
        self.start = max(self.start, round(part * len(self.records)))
        self.rig.keeper.delete_before(self.start, 0)

    @rule(rolls=st.booleans())
    def compact_leader(self, rolls: bool) -> None:
        if rolls:
            self.rig.keeper.roll()
        self.rig.keeper.sync()
        made = self.cleaned(self.rig.directory)
        if made is not None:
            refused: list[SwapRefused] = []
            self.rig.keeper.swap(made.swap, refused.append)
            assert refused == []

    @rule()
    def compact_follower(self) -> None:
        self.rig.keeper.roll()
        self.follow()
        log = self.follower.following.copy.log
        self.follower.following.sync.finish()
        log.sync(log.log_end_offset)
        made = self.cleaned(self.follower.directory)
        if made is not None:
            self.follower.supervisor.send(made.swap)
            self.follower.work()

    @rule()
    def follow(self) -> None:
        for _ in range(3):  # it may have to notice first that the leader's memory is another
            self.follower.keep_house()
            self.follower.try_again()
        assert self.follower.end_offset == len(self.records)

    @rule()
    def leader_is_killed(self) -> None:
        self.epoch += 1
        take_over(self.rig, self.epoch)

    @rule()
    def memory_is_lost(self) -> None:
        self.rig.keeper.sync()
        lose_shared_memory(self.rig)
        self.leader_is_killed()

    @rule()
    def follower_is_killed(self) -> None:
        self.follower.restart()

    @rule()
    def copy_is_lost(self) -> None:
        self.follower.kill()
        shutil.rmtree(self.follower.directory)
        self.follower.start()

    @rule()
    def follower_leads(self) -> None:
        self.follow()
        before = self.rig.directory, self.rig.replica_id
        self.follower.hand_over()
        self.rig.let_go()
        self.rig.directory, self.rig.replica_id = self.follower.directory, 1 - self.rig.replica_id
        self.leader_is_killed()
        self.follower = FollowerRig(self.rig, before[0], replica_id=before[1])

    def cleaned(self, directory: Path) -> LogCleaned | None:
        job = CleanLog(
            str(directory), self.rig.config, self.rig.control.high_watermark, MAP_SLOTS * SLOT_BYTES, 1, 0o600, None
        )
        answer = clean_log(job, no_pace)
        if isinstance(answer, LogCleaned):
            return answer
        assert answer.error == ""
        return None

    # --- what is read -------------------------------------------------------------------------------------------------

    @invariant()
    def each_key_ends_with_its_newest_record(self) -> None:
        if hasattr(self, "records"):
            self.look(self.rig.directory, len(self.records))
            self.look(self.follower.directory, self.follower.end_offset)

    def look(self, directory: Path, end_offset: int) -> None:
        found = {record.offset: (record.key, record.value) for record in read(directory, self.start, end_offset)}
        assert all(self.records[offset] == record for offset, record in found.items())
        last = {key: value for _, (key, value) in sorted(found.items())}
        newest = dict(self.records[self.start : end_offset])
        assert {key: value for key, value in last.items() if value is not None} == {
            key: value for key, value in newest.items() if value is not None
        }
        dirty = read_compaction_checkpoint(STORAGE, str(directory)).dense_from_offset
        assert all(offset in found for offset in range(max(self.start, dirty), end_offset))


def read(directory: Path, offset: int, end_offset: int) -> list[Record]:
    """Everything from `offset` on, out of the files."""
    found: list[Record] = []
    reader = ColdReader(str(directory))
    while offset < end_offset and (chunk := reader.read(max(offset, reader.earliest()), READ_BYTES, end_offset)):
        records, offset, _, _ = decode_batches(chunk, TOPIC_NAME, 0, offset, end_offset, READ_BYTES)
        found += records
    reader.close()
    return found


TestCompactedLife = pytest.mark.slow(CompactedLife.TestCase)
TestCompactedLife.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
