"""Following a leader: its log is read, a copy of it kept, and how far that goes shown in the replica region.

attach    the leader's control page; without one there is nothing to do
agree     once for each leader epoch: cut what this leader does not have
take      piece by piece, out of its ring or its files
show      written and synced offset; ring the leader, whose high watermark may wait for them
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic_ns
from typing import Literal

from shmlog.clock import wall_ms
from shmlog.control.messages import (
    FollowerSpec,
    FollowerTruncated,
    FollowerWaits,
    Message,
    SwapRefused,
    SwapSegments,
)
from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError, StorageError
from shmlog.limits import HOLD_LEASE_S, IDLE_SLEEP_S
from shmlog.log.presence import require_active_file
from shmlog.log.progress import Progress
from shmlog.log.storage import OsStorage
from shmlog.log.swap import remove_cleaned
from shmlog.memory.bell import open_bell
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState, ReplicaState
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.native.doorbell import Doorbell
from shmlog.partition.full_disk import disk_refusal, errno_of_full_disk
from shmlog.partition.leader_log import SETTLED, LeaderLog, Piece
from shmlog.partition.replica_log import ReplicaLog
from shmlog.partition.replica_sync import ReplicaSync
from shmlog.partition.sealed_watch import SealedWatch
from shmlog.partition.swapping import swap_segments
from shmlog.setting import LONG_MAX
from shmlog.settings import TopicConfig

READ_BYTES = 1 << 20
REFUSED_SLEEP_S = 0.1  # until what found no room is tried again
UNREADABLE_SLEEP_S = 1.0  # until a leader's files that cannot be read are tried again
MISSING_GRACE_NS = 1_000_000_000  # so long, files may lack what is written: a segment is just being replaced
MISSING_SLEEP_S = 0.01
LEADER_LOOK_S = 0.1  # while there is no leader to agree with


class Following:
    """A follower without its process: who holds it calls follow() again and again, and keep_house() once a second.

    Full disks and leaders that cannot be read are waited for, and said; everything else that is wrong with the copy
    raises OSError or a ShmlogError, and this is not used any more. One thread.
    """

    def __init__(
        self,
        spec: FollowerSpec,
        region: ReplicaRegion,
        storage: OsStorage,
        tell: Callable[[Message], None],
    ) -> None:
        """Open the copy; `storage` shows its progress meanwhile, to whom its holder likes. Nothing is read yet."""
        assert region.doorbell is not None, "a follower writes its region"
        self._spec = spec
        self._region = region
        self._wake = region.doorbell.ring
        self._storage = storage
        self._tell = tell
        self._config = TopicConfig.from_mapping(spec.config)
        self.leader = LeaderLog(spec.cid8, spec.partition_id, spec.leader_log_dir)
        self._leaders_bell: Doorbell | None = None
        self._agreed_epoch = -1  # of the leader whose log ours is a beginning of
        self._piece: Piece | None = None  # was read, and found no room yet
        self.waits_for = ""
        """Why it does not get on, in a sentence; "" when it does."""
        self._waits_on: Literal["", "disk", "leader"] = ""
        self._retry_ns = 0
        self._missing_since_ns: int | None = None
        self._remove_at_ms: int | None = None
        self._held, self._held_until_ns = "", 0
        self.copy = ReplicaLog(spec.log_dir, self._config, spec.topic_id, storage)
        self._watch_log()

    def _watch_log(self) -> None:
        """After it was opened."""
        self.sync = ReplicaSync(self.copy.log, self._config, self._wake, self.beat)
        self._sealed_watch = SealedWatch(self.copy.sealed, self._storage, self.beat, self._tell)

    def lead_from(self, log_dir: str) -> None:
        """The leader's log is there, which is news if another replica leads now."""
        if log_dir == self.leader.directory:
            return
        self._detach()
        self.leader.directory = log_dir
        self._retry_ns = 0

    def configure(self, config: TopicConfig) -> None:
        """Use these settings from now on."""
        self._config = config
        self.copy.configure(config)
        self.sync.configure(config)

    def hold(self, reason: str) -> None:
        """Take nothing for this reason, for limits.HOLD_LEASE_S; "": go on."""
        self._held_until_ns = monotonic_ns() + int(HOLD_LEASE_S * 1e9) if reason else 0
        self._held = reason or self._held

    def free_disk(self) -> None:
        """Drop what the leader has dropped, and remove what was dropped, now."""
        self.keep_house()
        self._remove_at_ms = self.copy.log.remove_deleted(LONG_MAX)

    def beat(self) -> None:
        """Show that this process gets on."""
        self._region.beat(monotonic_ns())

    # --- following ----------------------------------------------------------------------------------------------------

    def follow(self, until_ns: int) -> int:
        """Take what the leader has written, until then on the monotonic clock; how many pieces there were."""
        self.beat()
        done = self._follow(until_ns) if monotonic_ns() >= self._retry_ns else 0
        self._sync_what_is_due()
        self._sealed_watch.look(monotonic_ns())
        return done

    def _follow(self, until_ns: int) -> int:
        page = self._leaders_page()
        if page is None or not self._has_agreed(page):
            return 0
        done = 0
        while self._take_next(page):
            done += 1
            if monotonic_ns() >= until_ns:
                break
        return done

    def _leaders_page(self) -> ControlPage | None:
        """The control page of a leader that can be read from; None while there is none."""
        page = self.leader.attach()
        if page is None:
            return None
        state = page.state
        if state is OwnerState.REPLACED or (state is OwnerState.CLOSED and not self.leader.is_current()):
            self._detach()
            page = self.leader.attach()
        if page is None or state is OwnerState.DELETED:
            return None
        if self._leaders_bell is None:
            with contextlib.suppress(FileNotFoundError, CorruptRecordError):  # it has not made it yet
                self._leaders_bell = open_bell(self._spec.cid8, self._spec.partition_id)
        return page

    def _detach(self) -> None:
        self.leader.detach()
        self._piece = None
        self._agreed_epoch = -1
        if self._leaders_bell is not None:
            self._leaders_bell.close()
            self._leaders_bell = None

    def _has_agreed(self, page: ControlPage) -> bool:
        """Whether our log is a beginning of this leader's, which is made so once the leader has recovered its own."""
        epoch = page.leader_epoch
        if epoch == self._agreed_epoch:
            return True
        if page.state not in SETTLED:
            return False
        try:
            epochs = self.leader.epochs()
        except OSError as error:
            return self._wait(f"the leader's log cannot be read: {error}", UNREADABLE_SLEEP_S)
        if not epochs or epochs[-1].epoch != epoch:
            return self._wait(
                f"{self.leader.directory} does not say where leader epoch {epoch} begins", UNREADABLE_SLEEP_S
            )
        self._forget_place()
        start_offset, end_offset = page.log_start_offset, page.log_end_offset
        return self._change(
            lambda: self.copy.agree(self.leader, epochs, end_offset, start_offset),
            lambda: self._begin_to_follow(epoch),
        )

    def _begin_to_follow(self, epoch: int) -> None:
        self._agreed_epoch = epoch
        self._wait("")
        self._region.follow(epoch, self.copy.end_offset, self.sync.synced_offset)
        self._region.store_state(ReplicaState.FOLLOWING)
        self._ring_leader()

    def _change(self, change: Callable[[], str], then: Callable[[], object]) -> bool:
        """Cut or begin the log anew, which opens it again; whether the disk had room for that."""
        self.sync.finish()
        self._storage.progress = Progress(self.beat)
        said: list[str] = []
        try:
            code = errno_of_full_disk(lambda: said.append(change()))
        finally:
            self._storage.progress = None
        self._watch_log()
        if code:
            return self._wait(disk_refusal(code, self._spec.log_dir, 0), REFUSED_SLEEP_S, on="disk")
        if said[0]:
            self._tell(FollowerTruncated(said[0]))
        then()
        return True

    def _take_next(self, page: ControlPage) -> bool:
        """Copy one piece; whether there was one, and room for it."""
        if self._held and monotonic_ns() < self._held_until_ns:
            return self._wait(self._held, REFUSED_SLEEP_S, on="disk")
        if self._held:
            self._held = ""
            self._wait("")
        if self.copy.end_offset < page.log_start_offset:  # it was faster deleting than we copying
            self._forget_place()
            first_offset = self._leaders_first_offset(page)
            if first_offset is None:
                return False
            if self.copy.end_offset < first_offset:
                return self._restart_at(first_offset)
        if self._piece is None:
            is_written = page.written_offset > self.copy.end_offset
            try:
                self._piece = self.leader.read(self.copy.end_offset, READ_BYTES)
            except OffsetOutOfRangeError:  # deleted as we look: the page says it first
                return page.log_start_offset > self.copy.end_offset
            except (OSError, CorruptRecordError, StorageError) as error:
                self._forget_place()
                return self._wait(f"the leader's log cannot be read: {error}", UNREADABLE_SLEEP_S)
            if self._piece is None:
                return self._miss() if is_written else False
        self._missing_since_ns = None
        if page.leader_epoch != self._agreed_epoch:
            self._forget_place()
            return False
        first_offset = self._piece.first_offset
        if first_offset < self.copy.end_offset and self.copy.is_empty:  # it was begun in the middle of a batch
            self._forget_place()
            return self._restart_at(first_offset)
        return self._take(self._piece)

    def _restart_at(self, first_offset: int) -> bool:
        return self._change(lambda: self.copy.restart_at(first_offset), self._has_taken)

    def _leaders_first_offset(self, page: ControlPage) -> int | None:
        """Where a copy of the leader's log can begin: at its start, or with the batch that this is in the middle of.
        None, after it was said why, if that cannot be read now."""
        start_offset = page.log_start_offset
        try:
            piece = self.leader.read(start_offset, 1)
        except (OSError, CorruptRecordError, OffsetOutOfRangeError, StorageError) as error:
            piece, reason = None, str(error)
        else:
            reason = f"offset {start_offset} is written, but nothing in {self.leader.directory} holds it"
        self._forget_place()
        if piece is not None:
            return min(start_offset, piece.first_offset)
        if page.written_offset <= start_offset:
            return start_offset
        self._wait(f"the leader's log cannot be read: {reason}", UNREADABLE_SLEEP_S)
        return None

    def _take(self, piece: Piece) -> bool:
        segments, got = len(self.copy.sealed), False

        def take() -> None:
            nonlocal got
            got = self.copy.take(piece)

        try:
            code = errno_of_full_disk(take)
        except CorruptRecordError as error:
            self._forget_place()
            return self._wait(str(error), UNREADABLE_SLEEP_S)
        if code:
            return self._wait(disk_refusal(code, self._spec.log_dir, len(piece.batches)), REFUSED_SLEEP_S, on="disk")
        self._piece = None
        if len(self.copy.sealed) > segments:
            self.sync.segment_has_begun(monotonic_ns())
        self._wait("")
        if got:
            self._has_taken()
        return True

    def _miss(self) -> bool:
        """The leader has written something that is neither in its ring nor in its files: only for a moment, perhaps."""
        now_ns = monotonic_ns()
        if self._missing_since_ns is None:
            self._missing_since_ns = now_ns
        if now_ns - self._missing_since_ns < MISSING_GRACE_NS:
            self._retry_ns = now_ns + int(MISSING_SLEEP_S * 1e9)
            return False
        return self._wait(
            f"offset {self.copy.end_offset} is written, but nothing in {self.leader.directory} holds it",
            UNREADABLE_SLEEP_S,
        )

    def _has_taken(self) -> None:
        self._region.store_written(self.copy.end_offset)
        self._sync_what_is_due()
        self._ring_leader()

    def _forget_place(self) -> None:
        self._piece = None
        self.leader.forget_place()

    def _ring_leader(self) -> None:
        if self._leaders_bell is not None:
            self._leaders_bell.ring()

    def _wait(self, reason: str, for_s: float = 0.0, on: Literal["", "disk", "leader"] = "leader") -> bool:
        """Say what following waits for, if it did not wait on that before; no `reason`: it goes on. Always False."""
        self._retry_ns = monotonic_ns() + int(for_s * 1e9)
        waits_on = on if reason else ""
        if waits_on != self._waits_on:
            self._waits_on, self.waits_for = waits_on, reason
            self._tell(FollowerWaits(reason))
        return False

    # --- its own log --------------------------------------------------------------------------------------------------

    def _sync_what_is_due(self) -> None:
        self.sync.keep(monotonic_ns())
        if self._agreed_epoch >= 0 and self.sync.synced_offset > self._region.synced_offset:
            self._region.store_synced(self.sync.synced_offset)
            self._ring_leader()

    def keep_house(self) -> None:
        """Once a second while awake: follow the leader's log start, remove what was dropped long enough ago.

        Raises StorageError if the file that is written is not there any more.
        """
        self.beat()
        require_active_file(self.copy.log)
        page = self.leader.attach()
        if page is not None and page.state in SETTLED and page.leader_epoch == self._agreed_epoch:
            errno_of_full_disk(lambda: self._drop_before(page.log_start_offset))  # else a second later
        if page is not None and not self.leader.is_current():
            self._detach()
        self._remove_at_ms = self.copy.log.remove_deleted(wall_ms())

    def swap(self, order: SwapSegments) -> None:
        """Compacted segments take their places in the copy; see swap_segments(). Not before a leader has agreed: what
        it cuts was never below a high watermark, and nothing may have been removed because of it."""
        if not self._is_following():
            remove_cleaned(self._storage, self._spec.log_dir)
            self._tell(SwapRefused(f"{self._spec.log_dir} follows no leader now: it is cleaned again once it does"))
            return
        swap_segments(self.copy.log, order, self._tell)
        self._remove_at_ms = self.copy.log.remove_deleted(wall_ms())

    def _drop_before(self, start_offset: int) -> None:
        self.copy.drop_before(start_offset, wall_ms(), self.sync.first_held_offset)

    # --- what comes next ----------------------------------------------------------------------------------------------

    def has_news(self) -> bool:
        """Whether follow() would find something: the second look before a sleep."""
        can_follow = monotonic_ns() >= self._retry_ns and self._is_following()
        return can_follow and self.leader.has_news(self.copy.end_offset)

    def _is_following(self) -> bool:
        return self.leader.leader_epoch == self._agreed_epoch >= 0

    def next_deadline_ns(self, now_ns: int) -> int:
        """When to look again if nobody rings."""
        look_s = IDLE_SLEEP_S if self._is_following() else LEADER_LOOK_S
        deadline_ns = min(now_ns + int(look_s * 1e9), self.sync.next_deadline_ns, self._sealed_watch.next_deadline_ns)
        if self.waits_for:
            deadline_ns = min(deadline_ns, self._retry_ns)
        if self._remove_at_ms is not None:
            deadline_ns = min(deadline_ns, now_ns + max(0, self._remove_at_ms - wall_ms()) * 1_000_000)
        return deadline_ns

    def hand_over(self) -> None:
        """As close(), so that an owner can go on with the copy at once; the region says how far it goes."""
        self.sync.finish()
        self._region.store_written(self.copy.end_offset)
        self.copy.hand_over()
        self.leader.detach()

    def close(self, *, clean: bool) -> None:
        """Let go of everything but the region. `clean` as in ReplicaLog.close."""
        self.sync.finish()
        self._storage.progress = Progress(self.beat)
        self.copy.close(clean=clean)
        self.leader.detach()
