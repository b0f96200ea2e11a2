"""When a follower's copy goes to the disk: as the topic's flush.* ask, and soon after a segment was rolled."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shmlog.errors import ShmlogError
from shmlog.log.partition_log import PartitionLog
from shmlog.log.progress import PROGRESS_EVERY_S
from shmlog.setting import LONG_MAX
from shmlog.settings import TopicConfig

NEVER_NS = (1 << 63) - 1
SYNC_AFTER_ROLL_NS = 1_000_000_000


class _Sync(threading.Thread):
    """One sync of what is appended when it is made, beside further appends and rolls."""

    def __init__(self, log: PartitionLog, wake: Callable[[], object]) -> None:
        super().__init__(name="sync", daemon=True)
        self.offset = log.log_end_offset
        self.first_held_offset = log.active_base_offset
        self.error: OSError | ShmlogError | None = None
        self._log = log
        self._wake = wake

    def run(self) -> None:
        try:
            self._log.sync(self.offset)
        except (OSError, ShmlogError) as error:
            self.error = error
        self._wake()


class ReplicaSync:
    """Syncs in the follower's thread what somebody waits for (flush.messages), and in one beside it what a clock asks.

    `wake` is called in that thread when it is done, `beat` now and then while the follower waits for that. One log; for
    another one, opened anew, make another.
    """

    def __init__(
        self,
        log: PartitionLog,
        config: TopicConfig,
        wake: Callable[[], object],
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self.synced_offset = max(min(log.recovery_point, log.log_end_offset), log.log_start_offset)
        """All batches of the log below it are on the disk."""
        self._log = log
        self._config = config
        self._wake = wake
        self._beat = beat
        self._running: _Sync | None = None
        self._unsynced_since_ns: int | None = None
        self._sync_at_ns = NEVER_NS

    def configure(self, config: TopicConfig) -> None:
        self._config = config

    def segment_has_begun(self, now_ns: int) -> None:
        """The one before is not written to any more, and belongs onto the disk soon."""
        self._sync_at_ns = min(self._sync_at_ns, now_ns + SYNC_AFTER_ROLL_NS)

    def keep(self, now_ns: int) -> None:
        """Do what is due now. Raises what a failed sync raised, after which the log takes no more."""
        if self._running is not None and not self._running.is_alive():
            self.finish()
        unsynced = self._log.log_end_offset - self.synced_offset
        if not unsynced:
            self._unsynced_since_ns = None
        elif self._unsynced_since_ns is None:
            self._unsynced_since_ns = now_ns
        if 0 < unsynced >= self._config.flush_messages:
            self.finish()
            self._begin().run()
            self.finish()
        elif self._running is None and now_ns >= self._due_ns():
            self._begin().start()

    def finish(self) -> None:
        """Wait for the sync that runs, if one does. Raises what it raised."""
        sync, self._running = self._running, None
        if sync is None:
            return
        if sync.ident is not None:
            sync.join(PROGRESS_EVERY_S)
            while sync.is_alive():
                self._beat()
                sync.join(PROGRESS_EVERY_S)
        if sync.error is not None:
            raise sync.error
        self.synced_offset = max(self.synced_offset, sync.offset)

    def _begin(self) -> _Sync:
        self._unsynced_since_ns, self._sync_at_ns = None, NEVER_NS
        self._running = _Sync(self._log, self._wake)
        return self._running

    def _due_ns(self) -> int:
        by_clock_ns = NEVER_NS
        if self._unsynced_since_ns is not None and self._config.flush_ms < NEVER_NS // 1_000_000:
            by_clock_ns = self._unsynced_since_ns + self._config.flush_ms * 1_000_000
        return min(self._sync_at_ns, by_clock_ns)

    @property
    def next_deadline_ns(self) -> int:
        """When keep() has something to do again; a sync that runs wakes for itself."""
        return NEVER_NS if self._running is not None else self._due_ns()

    @property
    def first_held_offset(self) -> int:
        """Segments from this base offset on are in the hands of a sync, and may not be deleted now."""
        return self._running.first_held_offset if self._running is not None else LONG_MAX
