"""A topic of an archive, brought into the running cluster: the logs are made here, the supervisor takes them over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

from shmlog.client.connection import Connection
from shmlog.client.results import ImportInfo, TopicInfo
from shmlog.control.messages import ImportTopic, PlaceTopic, TopicCreated, TopicPlaced
from shmlog.errors import BrokerNotAvailableError, NoClusterError, PollTimeoutError, ShmlogError
from shmlog.log.archive import ArchiveReader
from shmlog.log.imported_topic import ImportedTopic, check_partitions
from shmlog.machines.log_names import import_name
from shmlog.settings import TopicConfig

Progress = Callable[[int, int], None]
"""Told how many bytes of the file were read, and how many it has."""

_UNKNOWN = (BrokerNotAvailableError, NoClusterError, PollTimeoutError)
"""After these nobody knows whether the supervisor has taken the logs over."""


def import_topic(
    connection: Connection,
    path: str,
    *,
    topic: str | None,
    replication_factor: int | None,
    config: Mapping[str, str],
    progress: Progress | None,
) -> ImportInfo:
    """See api.Admin.import_topic."""
    with closing(ArchiveReader(path)) as archive:
        manifest = archive.manifest
        check_partitions(manifest)
        name, settings = topic if topic is not None else manifest.topic, {**manifest.config, **config}
        wanted = PlaceTopic(0, name, len(manifest.partitions), replication_factor, settings)
        placed = connection.request(wanted, TopicPlaced)
        directories = [
            os.path.join(log_dir, import_name(placed.topic_id, number)) for number, log_dir in enumerate(placed.paths)
        ]
        made = ImportedTopic(
            manifest,
            directories,
            TopicConfig.from_mapping(settings),
            topic_id=placed.topic_id,
            reserve_bytes=placed.reserve_bytes,
        )
        made.fill(_watched(archive, progress))
    order = ImportTopic(
        0, placed.topic_id, name, replication_factor, settings, placed.directory_ids, made.leader_epochs
    )
    try:
        return ImportInfo(TopicInfo.of(connection.request(order, TopicCreated).topic), made.records)
    except _UNKNOWN:  # the logs may be a topic's by now; if they are not, the next start of the cluster removes them
        raise
    except ShmlogError:
        made.abandon()
        raise


def _watched(archive: ArchiveReader, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
    for batches in archive.batches():
        yield batches
        if progress is not None:
            progress(archive.position, archive.size_bytes)
