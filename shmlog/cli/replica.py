"""`shmlog replica`: which replica leads, and which disk each is on."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, require_partition, topic_argument
from shmlog.cli.output import count_of
from shmlog.errors import InvalidRequestError, StorageError

if TYPE_CHECKING:
    import shmlog
    from shmlog import TopicInfo
    from shmlog.client.results import PartitionInfo

LOOK_S = 0.1

partition_option = click.option("-p", "--partition", type=click.IntRange(min=0), help="Default: all of the topic.")


@click.group()
def replica() -> None:
    """Choose leaders, and move replicas to other disks."""


@replica.command(
    short_help="Let another replica lead.",
    epilog="""\b
Examples:
  shmlog replica elect orders                   leaders as they were at first
  shmlog replica elect orders -p 0 --replica 1
""",
)
@topic_argument
@partition_option
@click.option("--replica", "replica_id", type=click.IntRange(min=0), help="Default: the oldest one.")
@cluster_option
def elect(topic: str, partition: int | None, replica_id: int | None, name: str | None) -> None:
    """Let another replica of TOPIC's partitions lead, and wait until it does.

    The leader steps down and follows; clients notice a pause, and lose nothing. Only a replica in sync can lead.
    """
    with connect(name) as cluster:
        chosen = _chosen(cluster.admin.describe_topic(topic), partition)
        changed = 0
        for one in chosen:
            before = _leader(one)
            cluster.admin.elect_leader(topic, one.partition, replica_id)
            changed += before != _leader(_partition(cluster, topic, one.partition))
    click.echo(f"{count_of(changed, 'partition')} of {len(chosen)} changed the leader")


@replica.command(
    epilog="""\b
Examples:
  shmlog replica move orders -p 0 --replica 1 --to /disk3
"""
)
@topic_argument
@click.option("-p", "--partition", type=click.IntRange(min=0), required=True)
@click.option("--replica", "replica_id", type=click.IntRange(min=0), required=True, help="See `shmlog topic describe`.")
@click.option("--to", "log_dir", required=True, type=click.Path(file_okay=False), help="One of the log directories.")
@click.option("--no-wait", is_flag=True, help="Return when it has begun.")
@cluster_option
def move(topic: str, partition: int, replica_id: int, log_dir: str, no_wait: bool, name: str | None) -> None:
    """Move a replica to another log directory, under full load.

    A new replica is made there; once it is in sync it takes the old one's place, and its lead if it had that. Without
    --no-wait, waits for that; Ctrl-C ends the waiting only.
    """
    with connect(name) as cluster:
        require_partition(cluster.admin.describe_topic(topic), partition)
        cluster.admin.move_replica(topic, partition, replica_id, log_dir)
        if not no_wait:
            _wait(cluster, [(topic, partition, replica_id)])
    click.echo(f"replica {replica_id} of {topic}-{partition} " + ("moves" if no_wait else f"is in {log_dir} now"))


@replica.command(
    short_help="Move every replica out of LOG_DIR.",
    epilog="""\b
Examples:
  shmlog replica drain /disk1          before the disk is taken out
""",
)
@click.argument("log_dir", type=click.Path(file_okay=False))
@cluster_option
def drain(log_dir: str, name: str | None) -> None:
    """Move every replica out of LOG_DIR to the other log directories, and wait until nothing is left there.

    New topics still go there, unless log.dirs leaves it out at the next start.
    """
    path = os.path.abspath(log_dir)
    with connect(name) as cluster:
        moves = []
        for topic in cluster.admin.describe_topics(cluster.admin.list_topics(internal=True)):
            for partition in topic.partitions:
                for one in partition.replicas:
                    if os.path.dirname(one.log_dir) == path:
                        target = _target(cluster, partition, path)
                        cluster.admin.move_replica(topic.name, partition.partition, one.replica_id, target)
                        moves.append((topic.name, partition.partition, one.replica_id))
        if not moves and path not in {directory.path for directory in cluster.describe().directories}:
            raise InvalidRequestError(f"{log_dir} is no log directory of this cluster: `shmlog status` shows them")
        _wait(cluster, moves)
    click.echo(f"{count_of(len(moves), 'replica')} moved out of {path}")


def _target(cluster: shmlog.Cluster, partition: PartitionInfo, path: str) -> str:
    """The directory for a replica that leaves `path`: one without a replica of its partition, then the emptiest."""
    others = [one for one in cluster.describe().directories if one.path != path and not one.error and one.takes_new]
    if not others:
        raise StorageError(f"there is no other log directory than {path} to move to: add one to log.dirs")
    used = [os.path.dirname(one.log_dir) for one in partition.replicas]
    return min(others, key=lambda one: (used.count(one.path), one.replicas)).path


def _wait(cluster: shmlog.Cluster, moves: list[tuple[str, int, int]]) -> None:
    """Until none of these replicas is there any more."""
    with click.progressbar(length=len(moves), label="moved", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        left = moves
        while left:
            time.sleep(LOOK_S)
            still = [one for one in left if _is_there(cluster, *one)]
            bar.update(len(left) - len(still))
            left = still


def _is_there(cluster: shmlog.Cluster, topic: str, partition: int, replica_id: int) -> bool:
    return any(one.replica_id == replica_id for one in _partition(cluster, topic, partition).replicas)


def _partition(cluster: shmlog.Cluster, topic: str, partition: int) -> PartitionInfo:
    return cluster.admin.describe_topic(topic).partitions[partition]


def _chosen(topic: TopicInfo, partition: int | None) -> tuple[PartitionInfo, ...]:
    if partition is None:
        return tuple(topic.partitions)
    require_partition(topic, partition)
    return (topic.partitions[partition],)


def _leader(partition: PartitionInfo) -> int | None:
    return next((one.replica_id for one in partition.replicas if one.leads), None)
