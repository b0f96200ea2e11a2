"""Where a cluster's log directories are, read from its metadata log: of a cluster that runs or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.control.catalog import decode_record
from shmlog.errors import CorruptRecordError, ForeignVersionError, InvalidRequestError
from shmlog.log.dump import BatchRow, dump_log
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import OsStorage
from shmlog.machines.log_names import METADATA_TOPIC, log_name
from shmlog.machines.metadata import MetadataMachine
from shmlog.machines.metadata_records import MetadataRecord
from shmlog.machines.placement import DirectoryUse
from shmlog.record.batch import decode_records


@dataclass(frozen=True, slots=True)
class KnownDirectory:
    """A log directory where it was last found. `replicas`: how many partitions have one there."""

    path: str
    replicas: int


def known_directories(data_dir: str) -> list[KnownDirectory]:
    """Where the log directories of a cluster were when it was last started, as its metadata log says.

    Also of one that runs, and without the data directory. Raises InvalidRequestError without a metadata log that can be
    read.
    """
    directory = os.path.join(data_dir, log_name(METADATA_TOPIC, 0))
    machine = MetadataMachine()
    try:
        for base_offset in list_base_offsets(OsStorage(), directory):
            for record in _records_in(segment_path(directory, base_offset, LOG_SUFFIX)):
                machine.replay(record)
    except (OSError, CorruptRecordError, ForeignVersionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidRequestError(
            f"{data_dir} has no metadata log that can be read ({reason}): give the data directory with --data-dir"
        ) from error
    use = machine.directory_use()
    return [
        KnownDirectory(path, use.get(directory_id, DirectoryUse()).replicas)
        for directory_id, path in machine.directories().items()
    ]


def _records_in(path: str) -> Iterator[MetadataRecord]:
    with open(path, "rb") as file:
        for row in dump_log(path):
            if isinstance(row, BatchRow):
                file.seek(row.position)
                for record in decode_records(file.read(row.header.size_bytes)):
                    yield decode_record(record.value, record.offset)
