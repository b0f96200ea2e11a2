"""A partition's directory made from batches that have their offsets already: of an archive, say.

The log begins at the first of them, and what compaction had taken away between them stays away.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from shmlog.clock import wall_ms
from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import EpochStart, write_high_watermark, write_leader_epochs, write_topic_id
from shmlog.log.compaction_checkpoint import COMPACTION_CHECKPOINT, CompactionCheckpoint, write_compaction_checkpoint
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.log.truncation import begin_anew
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
        self._end_offset = end_offset
        self._is_sparse = False
        self._storage = OsStorage()
        if not self._storage.mkdir(directory):
            raise StorageError(
                f"{directory} is there already, of a topic that was deleted or never finished: move it away"
            )
        write_topic_id(self._storage, directory, topic_id)
        # until it is known whether there are holes; before the first of them
        write_compaction_checkpoint(self._storage, directory, CompactionCheckpoint(start_offset, end_offset))
        begin_anew(self._storage, directory, start_offset)
        self._log = PartitionLog.open(directory, config, topic_id=topic_id, storage=self._storage)

    def append(self, batches: bytes) -> None:
        """Whole batches, which follow those before. Their producers are forgotten: see record/foreign_batches.

        Raises CorruptRecordError for batches that are damaged, or not between what was and the end, OSError.
        """
        made, headers = without_producers(batches, self.directory)
        at = 0
        for header in headers:
            expected = self._log.log_end_offset
            if not expected <= header.base_offset <= header.last_offset < self._end_offset:
                raise CorruptRecordError(
                    f"{self.directory}: a batch with offsets {header.base_offset} to {header.last_offset} is not in its"
                    f" place, which is from {expected} to {self._end_offset - 1}"
                )
            if self._log.should_roll(wall_ms(), header.size_bytes):
                self._log.roll(header.base_offset)
                self._log.sync(header.base_offset)
            self._log.append(bytes(made[at : at + header.size_bytes]))
            at += header.size_bytes
            is_dense = header.base_offset == expected and header.record_count == header.last_offset_delta + 1
            self._is_sparse = self._is_sparse or not is_dense
            self.records += header.record_count
            self.leader_epoch = max(self.leader_epoch, header.leader_epoch)

    def finish(self, leader_epochs: list[EpochStart]) -> None:
        """Everything is there, and durable when this returns. Raises OSError, StorageError."""
        if self._log.log_end_offset < self._end_offset:
            self._is_sparse = True
            self._log.roll(self._end_offset)
        self._log.sync(self._log.log_end_offset)
        self._log.close(clean=True)
        if not self._is_sparse:
            self._storage.unlink(os.path.join(self.directory, COMPACTION_CHECKPOINT))
        write_leader_epochs(self._storage, self.directory, leader_epochs)
        write_high_watermark(self._storage, self.directory, self._end_offset)
        self._storage.fsync_dir(self.directory)
        self._storage.fsync_dir(os.path.dirname(self.directory))

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._log.close(clean=False)
        shutil.rmtree(self.directory, ignore_errors=True)
