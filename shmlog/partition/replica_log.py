"""A follower's own copy of its leader's log: a beginning of it, byte for byte, in segments that begin where its do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import EpochStart, write_leader_epochs
from shmlog.log.compaction_checkpoint import (
    dense_from,
    read_compaction_checkpoint,
    write_compaction_checkpoint,
)
from shmlog.log.leader_epochs import agreed_end, epochs_in, shared_epochs
from shmlog.log.partition_log import PartitionLog
from shmlog.log.recovery import WarmStart
from shmlog.log.sealed import SealedSegments
from shmlog.log.storage import OsStorage
from shmlog.log.truncation import SET_ASIDE, begin_anew, forget, truncate
from shmlog.native.producer_table import ProducerTable
from shmlog.native.scan import check_batches, find_other_epoch, select_batches
from shmlog.partition.leader_log import LeaderLog, Piece
from shmlog.partition.producer_snapshot import last_batches, restore_producers
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig

NO_EPOCH = -1


class ReplicaLog:
    """Opens the log, agrees with a leader on what both have, and then takes what that has more.

    Disk trouble raises OSError or StorageError and leaves everything so that the same call can be made again. One
    thread, but for `log.sync`.
    """

    def __init__(
        self,
        directory: str,
        config: TopicConfig,
        topic_id: str,
        storage: OsStorage,
        *,
        warm_from: WarmStart | None = None,
        held: Iterable[int] = (),
    ) -> None:
        """Open or make it; raises what PartitionLog.open does. `held`: producer ids that are not forgotten for room."""
        self.storage = storage
        self._directory = os.path.abspath(directory)
        self._config = config
        self._topic_id = topic_id
        self._coming: list[EpochStart] = []  # the leader's epochs that begin behind the log's end
        self._leader_directory = ""
        self._held = tuple(held)
        self._open(warm_from)

    def _open(self, warm_from: WarmStart | None = None) -> None:
        self.log = PartitionLog.open(
            self._directory, self._config, topic_id=self._topic_id, storage=self.storage, warm_from=warm_from
        )
        self.producers = ProducerTable()
        for producer_id in self._held:
            self.producers.hold(producer_id)
        try:
            restore_producers(self.log, self.producers)
        except BaseException:
            self.log.close(clean=False)
            raise

    @property
    def end_offset(self) -> int:
        return self.log.log_end_offset

    @property
    def dense_from_offset(self) -> int:
        """Before it compaction has left holes, and records of batches may be missing."""
        return dense_from(self.storage, self._directory)

    @property
    def sealed(self) -> SealedSegments:
        return self.log.sealed

    @property
    def is_empty(self) -> bool:
        return self.end_offset == self.sealed.first_base_offset

    def configure(self, config: TopicConfig) -> None:
        self._config = self.log.config = config

    # --- agreeing -----------------------------------------------------------------------------------------------------

    def agree(self, leader: LeaderLog, leaders: Sequence[EpochStart], end_offset: int, start_offset: int) -> str:
        """Cut what the leader does not have, whose log goes from `start_offset` to `end_offset` under epochs `leaders`.

        Returns in a sentence what was cut; "" if nothing. No sync may be running.
        """
        self._leader_directory = leader.directory
        mine = self.log.leader_epochs or epochs_in(self.log.headers(self.sealed.first_base_offset))
        agreed = agreed_end(mine, self.end_offset, leaders, end_offset)
        before, was_empty, said = self.end_offset, self.is_empty, ""
        is_strange = bool(mine) and not {one.epoch for one in mine} & {one.epoch for one in leaders}
        if is_strange and not was_empty and before > start_offset:  # else it has been deleted there
            suffix = f"{SET_ASIDE}{leaders[-1].epoch}"
            self._begin_anew(start_offset, suffix)
            said = (
                f"begun anew at offset {start_offset}: its leader's log, which ends at {end_offset}, has none of the"
                f" leader epochs of what was here, to {before - 1}. If the leader lost it, this was acknowledged: it"
                f" stays here in files *{suffix}, which nobody reads. Remove them when nothing of them is missed"
            )
        elif agreed < start_offset or agreed < self.log.log_start_offset:
            if agreed < self.dense_from_offset:  # a forget() that was killed
                self._forget(start_offset)
            else:
                self._begin_anew(start_offset)
            if not was_empty:
                said = f"begun anew at offset {start_offset}: its leader has nothing of what was here, to {before - 1}"
        elif agreed < before and agreed < self.dense_from_offset:
            # After an unclean election only: a leader that lacks what was below a high watermark.
            self._forget(start_offset)
            said = (
                f"begun anew at offset {start_offset}: its leader has nothing of what was here from offset {agreed} to"
                f" {before - 1}, and compaction has removed older records because of that"
            )
        elif agreed < before or self._is_begun_too_far(leader):
            self._reopen(lambda: truncate(self.storage, self._directory, agreed))
            if agreed < before:
                said = f"truncated from offset {before} to {self.end_offset}: its leader does not have what was behind"
        shared = shared_epochs(leaders, self.end_offset)
        if shared != self.log.leader_epochs:
            write_leader_epochs(self.storage, self._directory, shared)
            self.log.leader_epochs = shared
        self._coming = [start for start in leaders if start.start_offset > self.end_offset]
        return f"{self._directory}: {said}" if said else ""

    def _is_begun_too_far(self, leader: LeaderLog) -> bool:
        """Whether an empty segment stands at the end, where the leader, which lost it, will not begin one again."""
        active = self.log.active
        return active.size_bytes == 0 and len(self.sealed) > 0 and not leader.has_segment(active.base_offset)

    def restart_at(self, start_offset: int) -> str:
        """The leader has deleted what comes next here: begin anew where it begins. No sync may be running."""
        before = self.end_offset
        coming = [*self.log.leader_epochs, *self._coming]
        self._begin_anew(start_offset)
        self.log.leader_epochs = []
        self._coming = coming
        self._adopt_epochs()
        return f"{self._directory}: begun anew at offset {start_offset}: its leader has deleted what follows {before}"

    def _begin_anew(self, start_offset: int, set_aside: str = "") -> None:
        self._reopen(lambda: begin_anew(self.storage, self._directory, start_offset, set_aside))

    def _forget(self, start_offset: int) -> None:
        """Begin anew; what is left if this is killed must not count, because compaction has made holes in it."""
        end_offset = self.end_offset
        self._reopen(lambda: forget(self.storage, self._directory, start_offset, end_offset))

    def _reopen(self, change: Callable[[], None]) -> None:
        self.log.close(clean=False)
        try:
            change()
        finally:
            self._open_again()

    def _open_again(self) -> None:
        try:
            self._open()
        except OSError as error:  # not to be waited for: without an open log nothing else can go on
            raise StorageError(f"cannot open {self._directory} again after it was cut: {error}") from error

    # --- following ----------------------------------------------------------------------------------------------------

    def take(self, piece: Piece) -> bool:
        """Append what of `piece` is not there yet, and begin its segment; whether anything was done.

        Raises CorruptRecordError, and appends nothing, if it is not sound or does not follow.
        """
        base_offset, batches = piece
        rolls = base_offset > self.log.active_base_offset and self._reaches(base_offset)
        if rolls:
            self.log.write_snapshot(base_offset, last_batches(self.producers))
            self.log.roll(base_offset)
        if not batches:
            return rolls
        if int.from_bytes(batches[:8], "big") < self.end_offset:  # an earlier attempt got some of it into the file
            batches = batches[select_batches(batches, self.end_offset)[0] :]
        self._check(batches)
        while batches:
            self._adopt_epochs(BatchHeader.parse(batches).leader_epoch)
            length = find_other_epoch(batches, self.epoch)
            part = batches[:length]
            self.log.append(part)
            self.producers.replay(part)
            batches = batches[length:]
        self._adopt_epochs()
        return True

    def _reaches(self, base_offset: int) -> bool:
        """Whether the leader's segment `base_offset` is next: behind the log's end, or behind a hole after it."""
        return base_offset == self.end_offset or (
            base_offset > self.end_offset and base_offset <= self._holes_up_to(base_offset)
        )

    def _holes_up_to(self, hole_end_offset: int) -> int:
        """Before it offsets may be missing here. Where the leader has compacted up to a hole's end, it is copied."""
        mine = read_compaction_checkpoint(self.storage, self._directory)
        if hole_end_offset <= mine.dense_from_offset:
            return mine.dense_from_offset
        leaders = dense_from(self.storage, self._leader_directory)
        if leaders > mine.dense_from_offset:
            write_compaction_checkpoint(
                self.storage, self._directory, replace(mine, dense_from_offset=leaders)
            )  # durable before the hole
        return max(leaders, mine.dense_from_offset)

    def _check(self, batches: bytes) -> None:
        valid_bytes, offset, _, problem = check_batches(batches, self.end_offset)
        dense_from_offset = 0
        while problem:  # a second time where the leader was compacted again since the copy's checkpoint heard of it
            known = self._holes_up_to(BatchHeader.parse(batches, valid_bytes).next_offset)
            if known <= dense_from_offset:
                break
            dense_from_offset = known
            valid_bytes, offset, _, problem = check_batches(batches, self.end_offset, 0, dense_from_offset)
        if valid_bytes < len(batches):
            raise CorruptRecordError(
                f"what the leader has at offset {offset} is not sound and not taken into {self._directory}:"
                f" {problem or 'it ends inside a batch'}"
            )

    @property
    def epoch(self) -> int:
        """The last one that its checkpoint has, or NO_EPOCH."""
        starts = self.log.leader_epochs
        return starts[-1].epoch if starts else NO_EPOCH

    def _adopt_epochs(self, of_next_batch: int = NO_EPOCH) -> None:
        """Durably note the epochs that begin up to the log's end, before a batch of them is appended."""
        reached = shared_epochs(self._coming, self.end_offset)
        del self._coming[: len(reached)]
        starts = [*self.log.leader_epochs, *reached]
        last = starts[-1].epoch if starts else NO_EPOCH
        if of_next_batch > last:
            kept = [start for start in starts if start.start_offset < self.end_offset]
            starts = [*kept, EpochStart(of_next_batch, self.end_offset)]
        elif NO_EPOCH < of_next_batch < last:
            raise CorruptRecordError(
                f"the leader's batch at offset {self.end_offset} was written under epoch {of_next_batch}, behind others"
                f" of epoch {last}: not taken into {self._directory}"
            )
        if starts != self.log.leader_epochs:
            write_leader_epochs(self.storage, self._directory, starts)
            self.log.leader_epochs = starts

    def drop_before(self, start_offset: int, now_ms: int, first_held_offset: int) -> None:
        """Begin where the leader's log does, at `start_offset`, once that is here, and drop the segments before it.

        Those from `first_held_offset` on are in the hands of a sync: they go later.
        """
        gone = []
        for base_offset in self.sealed:
            if self.sealed.following(base_offset) > start_offset or base_offset >= first_held_offset:
                break
            gone.append(base_offset)
        if gone:
            self.log.delete_segments(gone, now_ms)
        if start_offset <= self.end_offset:
            self.sealed.begin_at(start_offset)

    def hand_over(self) -> None:
        """Close it so that an owner can go on with it at once, without a look at what is in it and without a sync."""
        self.log.write_snapshot(self.end_offset, last_batches(self.producers))
        self.log.close(clean=False)

    def close(self, *, clean: bool) -> None:
        """`clean` syncs it, and leaves what saves the next opening its checks."""
        if clean:
            self.log.sync(self.end_offset)
            self.log.write_snapshot(self.end_offset, last_batches(self.producers))
        self.log.close(clean=clean)
