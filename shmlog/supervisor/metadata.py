"""The metadata log: what the catalog machine decides becomes durable here, and is replayed here."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from shmlog.clock import wall_ms
from shmlog.control.catalog import decode_record, encode_record
from shmlog.errors import DiskFullError, StorageError
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import DISK_FULL, Storage
from shmlog.machines.log_names import METADATA_TOPIC
from shmlog.machines.metadata import MetadataMachine
from shmlog.machines.metadata_records import IdKind, MetadataRecord
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.header import BatchHeader
from shmlog.settings import ClusterConfig, TopicConfig

log = logging.getLogger(__name__)

METADATA_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAQ"  # Kafka's


Point = tuple[int, int]
"""Of a log: base offset of the active segment, and how many bytes of that."""

RESERVE_BYTES = 128 * 1024  # a thousand decisions


class MetadataLostError(Exception):
    """The supervisor cannot make decisions durable, nor know which of them are. Not for clients: it ends."""


def metadata_directory(directory: str) -> str:
    """Where a data directory has the metadata log, and a log directory its copy."""
    return os.path.join(directory, f"{METADATA_TOPIC}-0")


class Copies(Protocol):
    """Copies of the metadata log, as metadata_copies makes them."""

    def bring(self, point: Point) -> None:
        """Copy everything before `point`, which is durable."""

    def add(self, log_dir: str) -> None:
        """Make one in this log directory, too."""

    def close(self) -> None:
        """The log is closed."""


class Catalog:
    """The machine and its log. commit() returns when the records are on the disk.

    `directory_id` is that of the data directory. Raises StorageError from the constructor when the disk refuses, before
    anything was started.
    """

    def __init__(
        self, data_dir: str, config: ClusterConfig, storage: Storage | None = None, *, directory_id: str = ""
    ) -> None:
        self.machine = MetadataMachine(
            partitions_default=config.num_partitions,
            replicas_default=config.default_replication_factor,
            topic_defaults=config.topic_defaults,
            data_directory_id=directory_id,
        )
        self._ids: dict[IdKind, range] = {"producer": range(0), "client": range(0), "lane": range(0)}
        self._reserved_to = 0
        self._copies: Copies | None = None
        self.on_commit: list[Callable[[Sequence[MetadataRecord]], None]] = []
        """Called with records that have just been replayed, not with those of the start."""
        directory = metadata_directory(data_dir)
        try:
            self._log = PartitionLog.open(
                directory, TopicConfig.from_mapping({}), topic_id=METADATA_TOPIC_ID, storage=storage
            )
            while self._log.sealed.check_next():  # they are few, and the replay reads all of them
                pass
            found = self._log.sealed.take_findings()
            self.recovered = "; ".join(filter(None, (self._log.recovered, found, self._log.rewritten)))
            try:
                self._sync()  # what is acted upon must not be forgotten
                self._replay()
                self._reserve()
            except BaseException:
                self._log.close(clean=False)
                raise
        except OSError as error:
            raise StorageError(
                f"the metadata log {directory} cannot be opened: {error.strerror or error}; mend the disk or free"
                " space, and start the cluster again: nothing is lost"
            ) from error

    def copy_to(self, copies: Copies) -> None:
        """From now on they get what the log gets, when it is durable there; close() closes them, too."""
        self._copies = copies
        copies.bring(self._end)

    def copy_also_to(self, log_dir: str) -> None:
        """It is there again; nobody waits for its copy before that has what the others have."""
        if self._copies is not None:
            self._copies.add(log_dir)
            self._copies.bring(self._end)

    @property
    def _end(self) -> Point:
        return self._log.active_base_offset, self._log.active.size_bytes

    def commit(self, records: tuple[MetadataRecord, ...]) -> None:
        """Append, sync and replay.

        Raises DiskFullError when there is no room: nothing has happened then. Raises MetadataLostError, which ends the
        supervisor, when the disk refuses otherwise, and refuses new files too. Nobody was told of these records then;
        if they reached the disk nevertheless, the next supervisor acts on them.
        """
        if not records:
            return
        now_ms = wall_ms()
        batch = encode_batch(
            [NewRecord(encode_record(record), timestamp_ms=now_ms) for record in records],
            base_offset=self._log.log_end_offset,
        )
        try:
            if self._log.should_roll(now_ms, len(batch)):
                self._log.roll(self._log.log_end_offset)
                self._reserved_to = 0
            self._log.append(batch)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise self._lost(error) from error
            raise DiskFullError(
                f"the disk of {self._log.directory} has no room for {len(batch)} bytes ({error.strerror}): lower"
                " retention.ms or retention.bytes of topics, delete topics, or free space, and try again"
            ) from error
        try:
            self._sync()
        except (OSError, StorageError) as error:
            raise self._lost(error) from error
        if self._copies is not None:
            self._copies.bring(self._end)
        self._reserve()
        for record in records:
            self.machine.replay(record)
        for told in self.on_commit:
            told(records)

    def _lost(self, error: OSError | StorageError) -> MetadataLostError:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return MetadataLostError(
            f"the metadata log {self._log.directory} cannot be written: {reason}; the supervisor stops, partitions go"
            " on until it is started again"
        )

    def _reserve(self) -> None:
        """Keep room on the disk for decisions to come: on a full one, owners must be replaced and topics deleted."""
        if self._log.active.size_bytes + RESERVE_BYTES // 2 > self._reserved_to:
            reserved_to = self._log.active.size_bytes + RESERVE_BYTES
            with contextlib.suppress(OSError):  # full, or a file system that cannot
                self._log.reserve(reserved_to)
                self._reserved_to = reserved_to

    def _sync(self) -> None:
        """Bring the log to the disk; if that fails, to new files. Raises StorageError if those fail, too."""
        try:
            self._log.sync(self._log.log_end_offset)
        except OSError:
            self._log.rewrite()
            self._reserved_to = 0
            self._log.forget_failed_sync()
            log.warning("metadata log: %s; all of it was written to new files, look at the disk", self._log.rewritten)

    def next_id(self, kind: IdKind) -> int:
        """An id that this cluster never handed out before."""
        if not self._ids[kind]:
            block, step = self.machine.reserve_ids(kind)
            self.commit(step.records)
            self._ids[kind] = block
        first, self._ids[kind] = self._ids[kind][0], self._ids[kind][1:]
        return first

    def close(self, *, clean: bool) -> None:
        """With `clean` a marker saves the next start its checks; a disk that refuses it costs only those."""
        if self._copies is not None:
            self._copies.close()
        try:
            self._log.close(clean)
        except OSError as error:
            log.warning("the metadata log %s was not closed cleanly: %s", self._log.directory, error)

    def _replay(self) -> None:
        for chunk in self._log.batches():
            at = 0
            while at < len(chunk):
                size_bytes = BatchHeader.parse(chunk, at).size_bytes
                for record in decode_records(chunk[at : at + size_bytes]):
                    self.machine.replay(decode_record(record.value, record.offset))
                at += size_bytes
