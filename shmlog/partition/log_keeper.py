"""What the owner does with its log besides appending: rolling, syncing, retention, and the bookkeeping of each."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from time import monotonic_ns

from shmlog.clock import wall_ms
from shmlog.control.messages import SwapRefused, SwapSegments
from shmlog.errors import OffsetOutOfRangeError, ShmlogError
from shmlog.log.partition_log import PartitionLog
from shmlog.log.presence import require_active_file
from shmlog.log.snapshot import ProducerEntry
from shmlog.machines.retention import decide_retention
from shmlog.memory import layout
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import SyncFailed, SyncRunning
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.native.publish import Publisher
from shmlog.partition.full_disk import errno_of_full_disk
from shmlog.partition.producer_snapshot import last_batches
from shmlog.partition.ring_memory import RingMemory
from shmlog.partition.swapping import swap_segments
from shmlog.record.compression import topic_compression
from shmlog.setting import LONG_MAX
from shmlog.settings import TopicConfig

NEVER_NS = (1 << 63) - 1
SYNC_AFTER_ROLL_NS = 1_000_000_000
_REWRITES = layout.CTL_COUNTERS + 8 * layout.COUNTERS.index("rewrites")


class _Sync(threading.Thread):
    """One sync of what is written when it is made, beside appends, rolls and deletes of segments it does not hold."""

    def __init__(self, log: PartitionLog, page: Mapping, publisher: Publisher, bell: Doorbell) -> None:
        super().__init__(name="sync", daemon=True)
        self.offset, self.pos = publisher.written_offset, publisher.written_pos
        self.first_held_offset = log.active_base_offset
        """While it is alive, deleting the segment that begins here or a later one may close a file in its hands."""
        self.error: OSError | ShmlogError | None = None
        self._log = log
        self._page = page
        self._bell = bell

    def run(self) -> None:
        self._page.store(layout.CTL_SYNC_RUNNING, SyncRunning.RECORDS)
        try:
            self._log.sync(self.offset)
        except (OSError, ShmlogError) as error:
            self.error = error
        self._page.store(layout.CTL_SYNC_RUNNING, SyncRunning.NO)
        self._bell.ring()


def _file_bytes_max() -> int:
    """A segment must fit into RLIMIT_FSIZE."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return LONG_MAX if limit == resource.RLIM_INFINITY else limit


class LogKeeper:
    """Keeps segments, the cells of the ctl region that name them, and the publisher in step. Owner's thread only."""

    def __init__(self, control: ControlPage, publisher: Publisher, log: PartitionLog, bell: Doorbell) -> None:
        self._page = control.mapping
        self._publisher = publisher
        self._log = log
        self._bell = bell
        self._sync: _Sync | None = None
        self._config = log.config
        self._unsynced_since_ns: int | None = None
        self._sync_at_ns = NEVER_NS
        self._remove_at_ms: int | None = 0
        self.on_rewritten: Callable[[str], None] = lambda sentence: None
        """Told why files were written anew, after it has gone well."""
        log.on_failed_sync = self._sync_has_failed

    def configure(self, config: TopicConfig) -> None:
        """Use these settings from now on."""
        self._config = self._log.config = config
        self._publisher.compress_all(*topic_compression(config))
        self._publisher.demand(
            log_append_time=config.stamps_log_append_time,
            before_max_ms=config.message_timestamp_before_max_ms,
            after_max_ms=config.message_timestamp_after_max_ms,
            keys=config.is_compacted,
        )
        self._publisher.segment_bytes = min(config.segment_bytes, _file_bytes_max())
        held, self._publisher.hold_for_sync = self._publisher.hold_for_sync, config.flush_messages == 1
        self._publisher.sync_after_records = config.flush_messages if config.flush_messages < LONG_MAX else 0
        if held and not self._publisher.hold_for_sync:  # no sync will show what was waiting for one
            self._publisher.settle()

    def settle(self) -> None:
        """Right after taking over: what is written becomes visible, by the rules of flush.messages."""
        if self._publisher.hold_for_sync and self._publisher.unsynced_records:
            self.sync()
        self._publisher.settle()

    def roll(self) -> None:
        """Begin a new segment at the end of the log. All of the ring is written (the publisher saw to that)."""
        publisher = self._publisher
        assert publisher.written_pos == publisher.tail_pos, "a roll with unwritten batches"
        self._log.write_snapshot(publisher.tail_offset, self.producers())
        writer = self._log.roll(publisher.tail_offset)
        turn = self._page.load(layout.CTL_SEGMENT_TURN) + 1
        slot = layout.CTL_SEGMENT_SLOTS + 16 * (turn & 1)
        self._page.store(slot, writer.base_offset)
        self._page.store(slot + 8, publisher.tail_pos)
        # SYNC POINT segment-turn: pairs with opening's read; no byte goes into the new segment before.
        self._page.store(layout.CTL_SEGMENT_TURN, turn)
        publisher.use_segment(writer)
        self._sync_at_ns = min(self._sync_at_ns, monotonic_ns() + SYNC_AFTER_ROLL_NS)

    def producers(self) -> list[ProducerEntry]:
        """The publisher's producer state as Kafka keeps it in a snapshot: the last batch of each."""
        return last_batches(self._publisher.producers)

    def sync(self) -> None:
        """Bring everything that is written to the disk, now; into new files if the disk refuses the old ones.

        Raises StorageError, saying what is at stake, when it refuses those as well.
        """
        if self._sync is not None:
            self._finish_sync(self._sync)
        self._unsynced_since_ns = None
        self._sync_at_ns = NEVER_NS
        self._finish_sync(_Sync(self._log, self._page, self._publisher, self._bell))

    def sync_aside(self, now_ns: int) -> None:
        """Let a thread do the sync that is due for the clock, while the owner goes on; collect it when done."""
        if self._sync is not None:
            if not self._sync.is_alive():
                self._finish_sync(self._sync)
        elif self._sync_is_due(now_ns):
            self._unsynced_since_ns = None
            self._sync_at_ns = NEVER_NS
            self._sync = _Sync(self._log, self._page, self._publisher, self._bell)
            self._sync.start()

    def _finish_sync(self, sync: _Sync) -> None:
        self._sync = None
        if sync.ident is None:
            sync.run()
        else:
            sync.join()
        if sync.error is None:
            self._publisher.mark_synced(sync.offset, sync.pos)
        elif self._log.sync_failed:
            self._rewrite()
        else:
            raise sync.error

    def _rewrite(self) -> None:
        """Never sync a file again whose sync failed: go on in new ones, with all that is written."""
        page, publisher = self._page, self._publisher
        if self._log.failure_is_noted:
            page.store(layout.CTL_SYNC_FAILED, SyncFailed.NOTED)
        offset, pos = publisher.written_offset, publisher.written_pos
        memory = RingMemory(page, publisher.capacity, publisher.ring_bytes_between)
        publisher.use_segment(self._log.rewrite(memory, self.beat))
        page.store(_REWRITES, page.load(_REWRITES) + 1)
        page.store(layout.CTL_SYNC_FAILED, SyncFailed.NO)  # before the note goes: see opening._was_given_up
        self._log.forget_failed_sync()
        publisher.mark_synced(offset, pos)
        self.on_rewritten(self._log.rewritten)

    def _sync_has_failed(self) -> int:
        # Before the note: killed between the two, the successor knows it from here.
        self._page.store(layout.CTL_SYNC_FAILED, SyncFailed.NOT_NOTED)
        return self._page.load(layout.CTL_HW_OFFSET)

    def beat(self) -> None:
        """Show that the owner gets on with something that takes long."""
        self._page.store(layout.CTL_HEARTBEAT_NS, monotonic_ns())

    def _sync_is_due(self, now_ns: int) -> bool:
        """flush.ms has passed since the oldest unsynced record, or a rolled segment waits."""
        if not self._publisher.unsynced_records:
            self._unsynced_since_ns = None
        elif self._unsynced_since_ns is None:
            self._unsynced_since_ns = now_ns
        return now_ns >= self._sync_at_ns or now_ns >= self._flush_deadline_ns()

    def _flush_deadline_ns(self) -> int:
        if self._unsynced_since_ns is None or self._config.flush_ms >= NEVER_NS // 1_000_000:
            return NEVER_NS
        return self._unsynced_since_ns + self._config.flush_ms * 1_000_000

    @property
    def follows_clock(self) -> bool:
        """Whether somebody must look at each record when it comes, because a sync is due some time after it."""
        return self._config.flush_ms < NEVER_NS // 1_000_000

    def next_deadline_ns(self, now_ns: int) -> int:
        """When the owner must look again for the log's sake."""
        removal_ns = NEVER_NS
        if self._remove_at_ms is not None:
            removal_ns = now_ns + max(0, self._remove_at_ms - wall_ms()) * 1_000_000
        return min(self._sync_at_ns, self._flush_deadline_ns(), removal_ns)

    def keep(self) -> None:
        """Once a second while awake: roll by age, remove files whose delay has passed, miss the one that is written."""
        require_active_file(self._log)
        now_ms = wall_ms()
        if (
            self._publisher.written_pos == self._publisher.tail_pos
            and self._log.active.size_bytes
            and self._log.should_roll(now_ms, 0)
        ):
            self.roll()
        self._remove_at_ms = self._log.remove_deleted(now_ms)

    def apply_retention(self, now_ms: int, size_limit_bytes: int = -1) -> None:
        """Delete the whole segments that retention lets go, and move the log's start; `size_limit_bytes` is this log's
        share of retention.topic.bytes, -1 for none.

        Those that a sync beside the owner holds are for the next round. Raises OSError if the active one is among them
        and there is no room for a new one; the others are gone then.
        """
        decision = decide_retention(
            self._log.segments(),
            self._config,
            size_bytes=self.size_bytes() if max(self._config.retention_bytes, size_limit_bytes) >= 0 else 0,
            now_ms=now_ms,
            log_end_offset=self._log.log_end_offset,
            high_watermark=self._page.load(layout.CTL_HW_OFFSET),
            size_limit_bytes=size_limit_bytes,
            log_start_offset=self._log.log_start_offset,
        )
        self._drop(list(decision.delete), now_ms)

    def delete_before(self, offset: int, now_ms: int) -> int:
        """Let the log begin at `offset` (-1: the high watermark) if it begins before that; returns where it does now.

        Durable before anybody is told. Segments that have nothing else go, as in apply_retention. Raises
        OffsetOutOfRangeError beyond the high watermark, and OSError; then nothing has changed.
        """
        high_watermark = self._page.load(layout.CTL_HW_OFFSET)
        if offset > high_watermark:
            raise OffsetOutOfRangeError(
                f"offset {offset} is beyond the high watermark, {high_watermark}: what not all have that are in sync"
                " cannot be deleted yet"
            )
        start_offset = high_watermark if offset < 0 else offset
        sealed = self._log.sealed
        if start_offset > self._page.load(layout.CTL_LOG_START_OFFSET):
            sealed.begin_at(start_offset)
            self._page.store(layout.CTL_LOG_START_OFFSET, start_offset)
        gone = sealed.before(start_offset)
        if start_offset == self._log.log_end_offset > self._log.active_base_offset:
            gone.append(self._log.active_base_offset)
        errno_of_full_disk(lambda: self._drop(gone, now_ms))  # else the next round of retention will do
        return self._page.load(layout.CTL_LOG_START_OFFSET)

    def _drop(self, bases: list[int], now_ms: int) -> None:
        """Drop the oldest segments, the active one perhaps."""
        active, first_held = self._log.active_base_offset, self._first_held_offset()
        self._delete([base for base in bases if base < min(active, first_held)], now_ms)
        all_written = self._publisher.written_pos == self._publisher.tail_pos
        if active in bases and all_written and active < first_held:  # else the next round will do
            self.roll()
            self._delete([active], now_ms)

    @property
    def has_topic_cap(self) -> bool:
        """Whether retention.topic.bytes counts what this log has."""
        return self._config.topic_cap_bytes >= 0

    def size_bytes(self) -> int:
        """Of the log, in bytes of batches."""
        return self._log.size_bytes()

    def _first_held_offset(self) -> int:
        return self._sync.first_held_offset if self._sync is not None and self._sync.is_alive() else LONG_MAX

    def _delete(self, bases: list[int], now_ms: int) -> None:
        if not bases:
            return
        # The start first: who reads an old position is told so, instead of finding a hole.
        following = self._log.sealed.following(bases[-1])
        self._page.store(layout.CTL_LOG_START_OFFSET, max(self._log.log_start_offset, following))
        self._log.delete_segments(bases, now_ms)
        self._remove_at_ms = self._log.remove_deleted(now_ms)

    def delete_early(self, below_offset: int) -> None:
        """The disk is nearly full: let whole segments below this offset go before their time, and files at once.

        Nothing goes of a topic that keeps its records, nothing at or above the high watermark, and neither the active
        segment nor what a sync holds.
        """
        end = min(below_offset, self._page.load(layout.CTL_HW_OFFSET)) if self._config.deletes_some_day else 0
        first_held = min(self._log.active_base_offset, self._first_held_offset())
        gone = []
        for base_offset in self._log.sealed:
            if base_offset >= first_held or self._log.sealed.following(base_offset) > end:
                break
            gone.append(base_offset)
        self._delete(gone, wall_ms())
        self._remove_at_ms = self._log.remove_deleted(LONG_MAX)

    def free_space(self) -> None:
        """The disk is full: let retention take what it may now, and remove without `file.delete.delay.ms`."""
        self.apply_retention(wall_ms())
        self._remove_at_ms = self._log.remove_deleted(LONG_MAX)

    def swap(self, order: SwapSegments, tell: Callable[[SwapRefused], None]) -> None:
        """Compacted segments take their places; see swap_segments()."""
        swap_segments(self._log, order, tell)
        self._remove_at_ms = self._log.remove_deleted(wall_ms())

    def close(self, *, clean: bool) -> None:
        """Close the log; `clean` syncs it and leaves the marker that saves the next start its checks."""
        if self._sync is not None:
            self._finish_sync(self._sync)
        if clean:
            self.sync()
            self._log.write_snapshot(self._publisher.tail_offset, self.producers())
            self._page.store(layout.CTL_SYNC_RUNNING, SyncRunning.CLOSE)
        self._log.close(clean=clean)
        self._page.store(layout.CTL_SYNC_RUNNING, SyncRunning.NO)  # not if it raised: a failure need not be noted
