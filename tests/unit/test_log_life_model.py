"""The life of one log against a list: whatever is produced, rolled, retained, deleted, killed and rebooted, in any
order, what is read back from where the log begins is what the list has there, out of the ring and out of the files.

An operation that takes records away says in the model which ones may go, and notes which went. Compaction fits in as
one more rule: the list then has None where a record was cleaned away.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmlog.log.cold import ColdReader
from shmlog.log.segment import list_base_offsets
from shmlog.log.storage import OsStorage
from shmlog.native.records import Record, decode_batches
from shmlog.settings import TopicConfig
from shmlog.testing.follower_rig import lose_shared_memory, open_leader, take_over
from shmlog.testing.partition_rig import TOPIC_NAME, Rig

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
READ_BYTES = 1 << 20


class LogLife(RuleBasedStateMachine):
    """`records[offset]` is (timestamp, value); the log begins at `start`."""

    @initialize()
    def begin(self) -> None:
        self.records: list[tuple[int, bytes]] = []
        self.start = 0
        self.epoch = 0
        self.lanes = 0
        self.hour = 0
        self.exits = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="shmlog-life-"))
        self.exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.rig: Rig = self.exits.enter_context(open_leader(self.directory / "flights-0"))

    def teardown(self) -> None:
        if hasattr(self, "exits"):
            self.exits.close()

    # --- what happens to it -------------------------------------------------------------------------------------------

    @rule(batches=st.lists(st.integers(1, 6), min_size=1, max_size=5), size=st.integers(1, 400))
    def produce(self, batches: list[int], size: int) -> None:
        self.lanes += 1
        lane = self.rig.lane(producer_id=100 + self.lanes)
        for records in batches:
            timestamp_ms = NOW_MS + self.hour * HOUR_MS
            values = [b"%08d" % (len(self.records) + k) + b"." * size for k in range(records)]
            lane.send_many(TOPIC_NAME, values, timestamps_ms=[timestamp_ms] * records)
            self.records += [(timestamp_ms, value) for value in values]
            self.rig.run()
            lane.writer.reclaim()
        self.rig.close_lane(self.rig.lanes_made)

    @rule()
    def an_hour_passes(self) -> None:
        self.hour += 1

    @rule()
    def roll(self) -> None:
        self.rig.keeper.roll()

    @rule()
    def sync(self) -> None:
        self.rig.keeper.sync()

    @rule(part=st.floats(0, 1))
    def delete_records(self, part: float) -> None:
        offset = round(part * len(self.records))
        self.start = max(self.start, offset)
        assert self.rig.keeper.delete_before(offset, NOW_MS) == self.start

    @rule(part=st.floats(0, 1))
    def delete_records_and_die_before_anybody_is_told(self, part: float) -> None:
        self.start = max(self.start, round(part * len(self.records)))
        self.rig.opened.log.sealed.begin_at(self.start)
        self.owner_is_killed()

    @rule(keep_bytes=st.integers(0, 9000))
    def retain_by_size(self, keep_bytes: int) -> None:
        self._retain({"retention.bytes": str(keep_bytes), "retention.ms": "-1"})
        assert self.rig.keeper.size_bytes() <= keep_bytes + self._oldest_segment_bytes()

    @rule(hours=st.integers(0, 3))
    def retain_by_time(self, hours: int) -> None:
        before = self.start
        self._retain({"retention.bytes": "-1", "retention.ms": str(hours * HOUR_MS)})
        kept_since_ms = NOW_MS + (self.hour - hours) * HOUR_MS
        assert all(timestamp_ms < kept_since_ms for timestamp_ms, _ in self.records[before : self.start])

    def _retain(self, config: dict[str, str]) -> None:
        """Let whole segments go from the front, and nothing else."""
        before, bases = self.start, list_base_offsets(OsStorage(), str(self.rig.directory))
        self.rig.keeper.configure(TopicConfig.from_mapping(self.rig.config | config))
        self.rig.publisher.segment_bytes = 3000
        self.rig.keeper.apply_retention(NOW_MS + self.hour * HOUR_MS)
        self.start = self.rig.control.log_start_offset
        assert self.start == before or (self.start > before and self.start in [*bases, len(self.records)])

    def _oldest_segment_bytes(self) -> int:
        bases = list_base_offsets(OsStorage(), str(self.rig.directory))
        return (self.rig.directory / f"{bases[0]:020}.log").stat().st_size

    @rule()
    def owner_is_killed(self) -> None:
        self.epoch += 1
        take_over(self.rig, self.epoch)

    @rule()
    def host_is_started_again(self) -> None:
        self.epoch += 1
        lose_shared_memory(self.rig)
        self.rig.lives = False
        take_over(self.rig, self.epoch)

    @rule(part=st.floats(0, 1))
    def power_is_lost(self, part: float) -> None:
        """Of what was not synced some bytes of the active segment are left."""
        active = self.rig.opened.log.active
        path = self.rig.directory / f"{active.base_offset:020}.log"
        synced, whole = max(self.rig.publisher.synced_offset, active.base_offset), active.size_bytes
        if synced > active.base_offset:
            self.sync()  # how many bytes that was nobody notes
            synced, part = self.rig.publisher.synced_offset, 1.0
        self.host_is_gone_with(path, round(part * whole))
        end = self.rig.publisher.tail_offset
        assert max(synced, self.start) <= end <= len(self.records) or end == self.start
        del self.records[end:]

    def host_is_gone_with(self, path: Path, left_bytes: int) -> None:
        self.epoch += 1
        lose_shared_memory(self.rig)
        self.rig.lives = False
        with path.open("r+b") as file:
            file.truncate(left_bytes)
        take_over(self.rig, self.epoch)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_log_is_the_list(self) -> None:
        if not hasattr(self, "rig"):
            return
        end = len(self.records)
        reader = self.rig.reader(self.start)
        assert reader.watermarks() == (self.start, end)
        reader.close()
        assert self.rig.opened.log.log_start_offset == self.start
        for found in (self.rig.read_all(self.start), self._in_files(self.start, end)):
            assert [record.offset for record in found] == list(range(self.start, end))
            assert [(record.timestamp_ms, record.value) for record in found] == self.records[self.start :]

    def _in_files(self, offset: int, end: int) -> list[Record]:
        cold, found = ColdReader(str(self.rig.directory)), []
        while offset < end and (chunk := cold.read(offset, READ_BYTES, end)):
            records, offset, *_ = decode_batches(chunk, TOPIC_NAME, 0, offset, end, 1 << 30, True)
            found += records
        cold.close()
        return found

    @invariant()
    def lookups_by_time_find_the_first_that_is_left(self) -> None:
        if not hasattr(self, "rig") or self.start == len(self.records):
            return
        for hour in range(self.hour + 1):
            wanted = NOW_MS + hour * HOUR_MS
            left = enumerate(self.records[self.start :], self.start)
            expected = next(((offset, at_ms) for offset, (at_ms, _) in left if at_ms >= wanted), None)
            reader = self.rig.reader()
            assert reader.offset_for_timestamp(wanted) == expected
            reader.close()


LogLife.TestCase.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_log_read_back_is_the_list = LogLife.TestCase
