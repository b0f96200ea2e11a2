"""The logs of a topic in the making: one directory for each partition of an archive.

A running cluster's topic is made beside the others, in directories that no reader takes for a partition's
(`machines/log_names.import_name`), and its supervisor gives them their names; that of a stopped one under its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from shmlog.errors import CorruptRecordError, DiskFullError, ShmlogError, StorageError
from shmlog.log.archive import Manifest
from shmlog.log.checkpoint import EpochStart
from shmlog.log.imported_log import ImportedLog
from shmlog.settings import TopicConfig


class ImportedTopic:
    """The logs of all partitions of `manifest`, in `directories` by number, which are made here. All or nothing: after
    an error in fill(), and after abandon(), they are gone. `reserve_bytes` of each disk stay free.

    Raises CorruptRecordError for an archive that lacks partitions, StorageError if something is there already,
    DiskFullError, OSError.
    """

    def __init__(
        self,
        manifest: Manifest,
        directories: Sequence[str],
        config: TopicConfig,
        *,
        topic_id: str,
        reserve_bytes: int = 0,
    ) -> None:
        check_partitions(manifest)
        self._partitions = sorted(manifest.partitions, key=lambda one: one.partition)
        self._reserve_bytes = reserve_bytes
        self._logs: list[ImportedLog] = []
        directory = ""
        try:
            for directory, one in zip(directories, self._partitions, strict=True):
                bounds = {"start_offset": one.start_offset, "end_offset": one.end_offset}
                self._logs.append(ImportedLog(directory, config, topic_id=topic_id, **bounds))
        except BaseException as error:
            self.abandon()
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise _is_full(directory) from error
            raise

    @property
    def records(self) -> int:
        """How many there are so far."""
        return sum(log.records for log in self._logs)

    @property
    def leader_epochs(self) -> list[int]:
        """The largest one that each log has seen, -1 if none: its first owner has to be above."""
        return [
            max([log.leader_epoch, *(epoch for epoch, _ in one.leader_epochs)])
            for log, one in zip(self._logs, self._partitions, strict=True)
        ]

    def fill(self, batches: Iterable[tuple[int, bytes]]) -> None:
        """Append (partition, batches), all there are. Everything is durable then.

        Raises CorruptRecordError, OSError, StorageError if somebody has removed them, DiskFullError when the disk is
        full or in front of the reserve.
        """
        directory = ""
        try:
            for number, some in batches:
                directory = self._logs[number].directory
                self._check_room(directory, len(some))
                self._logs[number].append(some)
            for log, one in zip(self._logs, self._partitions, strict=True):
                directory = log.directory
                log.finish([EpochStart(epoch, start) for epoch, start in one.leader_epochs])
        except (OSError, ShmlogError) as error:
            gone = next((log.directory for log in self._logs if not os.path.isdir(log.directory)), None)
            self.abandon()
            if gone is None and isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise _is_full(directory) from error
            if gone is None:
                raise
            raise StorageError(
                f"{gone} was removed while it was written, as the start of a cluster does with what an import that was"
                " not finished has left: import the topic again"
            ) from error
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave nothing behind."""
        for log in self._logs:
            log.abandon()

    def _check_room(self, directory: str, size_bytes: int) -> None:
        if self._reserve_bytes == 0:
            return
        status = os.statvfs(directory)
        free_bytes = status.f_bavail * status.f_frsize
        if free_bytes - size_bytes < self._reserve_bytes:
            raise DiskFullError(
                f"{os.path.dirname(directory)} has {free_bytes} bytes free, and disk.reserve.bytes keeps"
                f" {self._reserve_bytes}: nothing was imported; make room, or add a directory to log.dirs"
            )


def _is_full(directory: str) -> DiskFullError:
    return DiskFullError(
        f"the disk of {os.path.dirname(directory)} is full: nothing was imported; make room, or add a directory to"
        " log.dirs"
    )


def check_partitions(manifest: Manifest) -> None:
    """Raise CorruptRecordError if some are missing."""
    if sorted(one.partition for one in manifest.partitions) != list(range(len(manifest.partitions))):
        raise CorruptRecordError(f"the archive of topic {manifest.topic!r} does not have all of its partitions")
