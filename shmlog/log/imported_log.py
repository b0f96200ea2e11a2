"""A partition's directory made from batches that have their offsets already: of an archive, say.

The log begins at its start, also within the first of them, and what compaction had taken away between them stays away.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from shmlog.clock import wall_ms
from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import EpochStart, write_high_watermark, write_leader_epochs, write_topic_id
from shmlog.log.compaction_checkpoint import COMPACTION_CHECKPOINT, CompactionCheckpoint, write_compaction_checkpoint
from shmlog.log.log_start import write_log_start
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.log.truncation import begin_anew
from shmlog.record.batch import count_from
from shmlog.record.foreign_batches import without_producers
from shmlog.settings import TopicConfig


class ImportedLog:
    """One directory in the making, from the offset `start_offset` to `end_offset`. Close with finish() or abandon().

    From its first moment it has the id of a topic that nobody knows before the import is through, so that no topic of
    the same name takes half of it for its own. Raises StorageError from the constructor if something is there already.
    """

    def __init__(
        self, directory: str, config: TopicConfig, *, topic_id: str, start_offset: int, end_offset: int
    ) -> None:
        self.directory = directory
        self.records = 0
        self.leader_epoch = -1
        """The largest one of a batch."""
        self._config, self._topic_id = config, topic_id
        self._start_offset, self._end_offset = start_offset, end_offset
        self._log: PartitionLog | None = None
        self._is_sparse = False
        self._storage = OsStorage()
        if not self._storage.mkdir(directory):
            raise StorageError(
                f"{directory} is there already, of a topic that was deleted or never finished: move it away"
            )
        write_topic_id(self._storage, directory, topic_id)

    def _begun(self, first_offset: int) -> PartitionLog:
        """The log, which begins with the batch at `first_offset` if that holds the start, too, else at the start."""
        if self._log is None:
            base_offset = min(first_offset, self._start_offset)
            # until it is known whether there are holes; before the first of them
            checkpoint = CompactionCheckpoint(base_offset, self._end_offset)
            write_compaction_checkpoint(self._storage, self.directory, checkpoint)
            begin_anew(self._storage, self.directory, base_offset)
            self._log = PartitionLog.open(self.directory, self._config, topic_id=self._topic_id, storage=self._storage)
        return self._log

    def append(self, batches: bytes) -> None:
        """Whole batches, which follow those before. Their producers are forgotten: see record/foreign_batches.

        Raises CorruptRecordError for batches that are damaged, or not between what was and the end, OSError.
        """
        made, headers = without_producers(batches, self.directory)
        at = 0
        for header in headers:
            log = self._begun(header.base_offset)
            expected = log.log_end_offset
            if not expected <= header.base_offset or not self._start_offset <= header.last_offset < self._end_offset:
                raise CorruptRecordError(
                    f"{self.directory}: a batch with offsets {header.base_offset} to {header.last_offset} is not in its"
                    f" place, which is from {expected} to {self._end_offset - 1}"
                )
            if log.should_roll(wall_ms(), header.size_bytes):
                log.roll(header.base_offset)
                log.sync(header.base_offset)
            log.append(bytes(made[at : at + header.size_bytes]))
            is_dense = header.base_offset == expected and header.record_count == header.last_offset_delta + 1
            self._is_sparse = self._is_sparse or not is_dense
            self.records += count_from(batches, header, at, self._start_offset)
            self.leader_epoch = max(self.leader_epoch, header.leader_epoch)
            at += header.size_bytes

    def finish(self, leader_epochs: list[EpochStart]) -> None:
        """Everything is there, and durable when this returns. Raises OSError, StorageError."""
        log = self._begun(self._start_offset)
        first_offset = log.log_start_offset
        if log.log_end_offset < self._end_offset:
            self._is_sparse = True
            log.roll(self._end_offset)
        log.sync(log.log_end_offset)
        log.close(clean=True)
        if first_offset < self._start_offset:  # not before: nothing of an empty log is behind it
            write_log_start(self._storage, self.directory, self._start_offset)
        if not self._is_sparse:
            self._storage.unlink(os.path.join(self.directory, COMPACTION_CHECKPOINT))
        write_leader_epochs(self._storage, self.directory, leader_epochs)
        write_high_watermark(self._storage, self.directory, self._end_offset)
        self._storage.fsync_dir(self.directory)
        self._storage.fsync_dir(os.path.dirname(self.directory))

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._log is not None:
            with suppress(OSError):
                self._log.close(clean=False)
        shutil.rmtree(self.directory, ignore_errors=True)
