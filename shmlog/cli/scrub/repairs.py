"""Who mends what a scrub has found: this process, in directories that it has locked, or those that run there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, closing

from shmlog.cli.scrub.places import ReplicaPlace
from shmlog.client.connection import Connection
from shmlog.control import data_directory
from shmlog.control.messages import Done, MendReplica
from shmlog.errors import PollTimeoutError, ShmlogError, StorageError
from shmlog.log.mending import batches_to_mend, mend
from shmlog.log.scrub import Flaw
from shmlog.log.sealed_check import SealedCheck
from shmlog.log.segment import LOG_SUFFIX
from shmlog.log.storage import OsStorage
from shmlog.settings import TopicConfig

NO_OTHER = "no other replica has it"
DONE_S = 15.0
"""A worker that has got an order is waited for this long."""
LOOK_S = 0.02


class RunningMender:
    """For a cluster that runs: owners and followers are told to mend their own files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._storage = OsStorage()

    def mend(self, flaw: Flaw, place: ReplicaPlace, others: list[ReplicaPlace]) -> str:
        if flaw.suffix != LOG_SUFFIX:
            return "indexes are made anew when the cluster is stopped: --repair with --data-dir does so"
        notes: list[str] = []
        for other in others:
            try:
                first = self._next_position(flaw, other)
                if first is None:
                    notes.append(f"{other.directory} has nothing else there")
                    continue
                self._connection.request(_order(flaw, place, other), Done)
                deadline = time.monotonic() + DONE_S
                while self._next_position(flaw, other) == first:
                    if time.monotonic() > deadline:
                        raise PollTimeoutError(
                            f"replica {place.replica_id} was told to, and has not in {DONE_S:.0f} s: see `shmlog logs`"
                        )
                    time.sleep(LOOK_S)
            except (ShmlogError, OSError) as error:
                notes.append(str(error))
            else:
                return ""
        return "; ".join(notes) or NO_OTHER

    def _next_position(self, flaw: Flaw, other: ReplicaPlace) -> int | None:
        """Where the first batch begins that is to be mended; None: there is none."""
        with closing(batches_to_mend(self._storage, flaw, other.directory)) as batches:
            return next((position for position, _ in batches), None)


def _order(flaw: Flaw, place: ReplicaPlace, other: ReplicaPlace) -> MendReplica:
    segment = flaw.segment
    return MendReplica(
        0,
        *place.partition,
        place.replica_id,
        other.replica_id,
        segment.base_offset,
        segment.following,
        flaw.position,
        flaw.first_offset,
    )


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
