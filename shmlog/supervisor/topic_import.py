"""A topic laid down in the directories of a cluster that is stopped, with the offsets that it had.

The files are made first, then the metadata log is told of the topic and of the leader epochs that its batches carry;
the next start finds it like any other. A kill in between leaves directories of a topic that nobody knows, and the next
attempt names them. What a running cluster does instead: supervisor/arrivals.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from shmlog.control.paths import RuntimePaths
from shmlog.errors import StorageError
from shmlog.log.archive import Manifest
from shmlog.log.imported_topic import ImportedTopic, check_partitions
from shmlog.machines.log_names import log_name
from shmlog.machines.metadata_records import ReplicasAssigned
from shmlog.settings import ClusterConfig, TopicConfig
from shmlog.supervisor import home
from shmlog.supervisor.arrivals import facts_of_import
from shmlog.supervisor.capacity import check_partitions as check_room_for
from shmlog.supervisor.directories import LogDirectories
from shmlog.supervisor.directory_opening import check_listed, open_directories
from shmlog.supervisor.meta_properties import random_uuid
from shmlog.supervisor.metadata import Catalog, MetadataLostError
from shmlog.supervisor.metadata_restoring import restore


@dataclass(frozen=True, slots=True)
class StoppedCluster:
    """Its metadata and its directories, which are locked."""

    catalog: Catalog
    directories: LogDirectories


@contextmanager
def stopped_cluster(
    name: str, runtime: RuntimePaths, data_dir: str, log_dirs: Sequence[str]
) -> Iterator[StoppedCluster]:
    """Hold the cluster's directories, made if they are not there, so that nobody starts it meanwhile.

    Without `log_dirs` they are those of the last start. Raises as a start does: ClusterAlreadyRunningError,
    DataDirectoryInUseError, StartError.
    """
    check_listed(data_dir, log_dirs)
    with ExitStack() as held:
        entered = home.enter(name, runtime, data_dir, directory_mode=0o700, group=None, log_dirs=tuple(log_dirs))
        held.callback(entered.release, empty=False)
        restore(data_dir, log_dirs, entered.cluster_id)
        catalog = Catalog(data_dir, ClusterConfig.from_mapping({}), directory_id=entered.directory_id)
        held.callback(catalog.close, clean=True)
        listed = log_dirs or [path for path in catalog.machine.directories().values() if os.path.isdir(path)]
        opened = open_directories(entered, name, listed, catalog.machine, None)
        held.callback(opened.release)
        yield StoppedCluster(catalog, opened.directories)


def import_topic(
    cluster: StoppedCluster,
    manifest: Manifest,
    batches: Iterable[tuple[int, bytes]],
    *,
    topic: str,
    replication_factor: int = 1,
    config: Mapping[str, str] | None = None,
) -> int:
    """Make `topic` of what `manifest` says and `batches` hold (partition, batches); returns how many records it has.

    `config` has settings that take the place of the archive's. The leader's replica gets everything; others copy from
    it once the cluster runs. All or nothing: on an error what was made is removed. Raises TopicAlreadyExistsError,
    CorruptRecordError, StorageError, OSError and more.
    """
    check_partitions(manifest)
    topic_id, settings = random_uuid(), {**manifest.config, **(config or {})}
    step = cluster.catalog.machine.create_topic(
        topic,
        topic_id=topic_id,
        partitions=len(manifest.partitions),
        replication_factor=replication_factor,
        config=settings,
        directories=cluster.directories.for_new_replicas(),
    )
    check_room_for(len(step.actions))
    assigned = [record for record in step.records if isinstance(record, ReplicasAssigned)]
    directories = [
        os.path.join(cluster.directories.path(one.directory_ids[0]), log_name(topic, number))
        for number, one in enumerate(assigned)
    ]
    made = ImportedTopic(manifest, directories, TopicConfig.from_mapping(settings), topic_id=topic_id)
    made.fill(batches)
    try:
        cluster.catalog.commit((*step.records, *facts_of_import(assigned, made.leader_epochs)))
    except MetadataLostError as error:  # it may have reached the disk: then the files must be there
        raise StorageError(f"{error}: the next start tells whether topic {topic!r} is there") from error
    except BaseException:
        made.abandon()
        raise
    return made.records
