"""Who mends what a scrub has found: this process, in directories that it has locked."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from shmlog.cli.scrub.places import ReplicaPlace
from shmlog.control import data_directory
from shmlog.errors import ShmlogError, StorageError
from shmlog.log.mending import mend
from shmlog.log.scrub import Flaw
from shmlog.log.sealed_check import SealedCheck
from shmlog.log.segment import LOG_SUFFIX
from shmlog.log.storage import OsStorage
from shmlog.settings import TopicConfig

NO_OTHER = "no other replica has it"


class StoppedMender:
    """For a cluster that is stopped, and stays so until close(): its directories are locked.

    Raises DataDirectoryInUseError from the constructor if it runs.
    """

    def __init__(self, data_dir: str, log_dirs: Iterable[str]) -> None:
        self._held = ExitStack()
        self._storage = OsStorage()
        try:
            for directory, kind in [(data_dir, "data directory"), *((one, "log directory") for one in log_dirs)]:
                self._held.callback(data_directory.lock(directory, kind).release, remove=False)
        except BaseException:
            self._held.close()
            raise

    def mend(self, flaw: Flaw, place: ReplicaPlace, others: list[ReplicaPlace]) -> str:
        if flaw.suffix != LOG_SUFFIX:
            return self._mend_indexes(flaw)
        notes: list[str] = []
        for other in others:
            try:
                if mend(self._storage, flaw, other.directory):
                    return ""
                notes.append(f"{other.directory} has nothing else there")
            except (ShmlogError, OSError) as error:
                notes.append(str(error))
        return "; ".join(notes) or NO_OTHER

    def close(self) -> None:
        """The cluster may be started again."""
        self._held.close()

    def _mend_indexes(self, flaw: Flaw) -> str:
        """Make both anew from the log, which is sound."""
        segment, interval = flaw.segment, TopicConfig.from_mapping({}).index_interval_bytes
        try:
            SealedCheck(self._storage, segment.directory, interval).check(
                segment.base_offset, segment.following, has_indexes=False
            )
        except (StorageError, OSError) as error:
            return str(error)
        return ""
