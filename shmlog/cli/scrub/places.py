"""Where the replicas of partitions have their logs: as the supervisor says, or the directories of a stopped cluster.

A stopped cluster is taken for what its directories hold: a log directory of a replica says in its name and its
partition.metadata whose it is. Which directories there are stands in the metadata log, as they were last found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shmlog import Cluster
from shmlog.cli.known_directories import known_directories
from shmlog.errors import UnknownTopicOrPartitionError
from shmlog.log.checkpoint import read_topic_id
from shmlog.log.storage import OsStorage
from shmlog.machines.log_names import METADATA_TOPIC
from shmlog.model import TopicPartition

_LOG_NAME = re.compile(r"(.+)-(\d{1,9})(?:\.r(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """One replica's log. `replica_id` is -1 where only its directory is known."""

    partition: TopicPartition
    topic_id: str
    replica_id: int
    directory: str


Places = dict[TopicPartition, list[ReplicaPlace]]


def of_running(cluster: Cluster, topics: Sequence[str]) -> Places:
    """All replicas of these topics (of all without any). Raises UnknownTopicOrPartitionError."""
    found: Places = {}
    for topic in cluster.admin.describe_topics(list(topics) or cluster.admin.list_topics(internal=True)):
        for one in topic.partitions:
            partition = TopicPartition(topic.name, one.partition)
            found[partition] = [
                ReplicaPlace(partition, topic.topic_id, replica.replica_id, replica.log_dir) for replica in one.replicas
            ]
    return found


def of_stopped(data_dir: str, log_dirs: Iterable[str], topics: Sequence[str]) -> Places:
    """All replicas of these topics (of all without any) in these directories and those that the metadata log names.

    Raises InvalidRequestError if `data_dir` is not a data directory, UnknownTopicOrPartitionError for a topic that is
    nowhere there.
    """
    found: Places = {}
    for directory in all_directories(data_dir, log_dirs):
        for place in _places_in(directory):
            if place.partition.topic != METADATA_TOPIC and (not topics or place.partition.topic in topics):
                found.setdefault(place.partition, []).append(place)
    for topic in topics:
        if not any(partition.topic == topic for partition in found):
            raise UnknownTopicOrPartitionError(f"no log of topic {topic!r} is in {data_dir} or its log directories")
    return found


def all_directories(data_dir: str, log_dirs: Iterable[str]) -> list[str]:
    """The data directory, `log_dirs`, and those that the metadata log names and that are there; absolute, once each."""
    known = [one.path for one in known_directories(data_dir) if os.path.isdir(one.path)]
    return list(dict.fromkeys(map(os.path.realpath, [data_dir, *log_dirs, *known])))


def _places_in(directory: str) -> Iterator[ReplicaPlace]:
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.listdir(directory)):
            match = _LOG_NAME.fullmatch(entry)
            if match is not None:
                path = os.path.join(directory, entry)
                with suppress(NotADirectoryError):
                    topic_id = read_topic_id(OsStorage(), path)
                    if topic_id is not None:
                        yield ReplicaPlace(TopicPartition(match[1], int(match[2])), topic_id, -1, path)
