"""`shmlog topic import`: a topic of an archive, laid down in a cluster that is stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, parse_settings
from shmlog.cli.cluster_paths import find_cluster
from shmlog.cli.output import count_of
from shmlog.errors import ClusterAlreadyRunningError

if TYPE_CHECKING:
    from shmlog.log.archive import ArchiveReader


@click.command(
    "import",
    short_help="Make a topic of a file that `topic export` wrote.",
    epilog="""\b
Examples:
  shmlog down && shmlog topic import orders.tar && shmlog up --detach
  shmlog topic import orders.tar.gz --topic orders-of-march
  shmlog topic import orders.tar --data-dir ./elsewhere     a data directory is made if there is none
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--topic", metavar="NAME", help="Another name than it had.")
@click.option("-c", "--config", multiple=True, metavar="KEY=VALUE", help="Another setting than it had; repeatable.")
@click.option("--replication-factor", type=int, default=1, show_default=True, help="Others copy once the cluster runs.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="That of the cluster, if it is not its default.")
@click.option(
    "--log-dir",
    "log_dirs",
    multiple=True,
    type=click.Path(file_okay=False),
    help="Where its logs go, as given to `shmlog up`; may be repeated. Default: where they went last.",
)
@cluster_option
def import_(
    file: str,
    topic: str | None,
    config: tuple[str, ...],
    replication_factor: int,
    data_dir: str | None,
    log_dirs: tuple[str, ...],
    name: str | None,
) -> None:
    """Make a topic of FILE, with the same partitions, offsets, times, headers and settings: what was the record at an
    offset is the record at that offset, and where there was none there is none. The cluster must be stopped: only a log
    that its owner finds can begin anywhere else than at 0.

    Retention goes by the times of records: --config retention.ms=-1 keeps what is old. Which producers sent the records
    is forgotten. All or nothing: after an error nothing of the topic is there.
    """
    from shmlog.log.archive import ArchiveReader
    from shmlog.supervisor.topic_import import import_topic, stopped_cluster

    place = find_cluster(name, data_dir=data_dir)
    if place.pid is not None:
        raise ClusterAlreadyRunningError(
            f"cluster {place.name!r} is running (pid {place.pid}): a topic can be imported while it is stopped; stop it"
            f" with `shmlog down --name {place.name}`, and start it again afterwards"
        )
    listed = [os.path.abspath(one) for one in log_dirs]
    with (
        closing(ArchiveReader(file)) as archive,
        stopped_cluster(place.name, place.runtime, os.path.abspath(place.data_dir), listed) as cluster,
    ):
        made = topic if topic is not None else archive.manifest.topic
        records = import_topic(
            cluster,
            archive.manifest,
            _watched(archive),
            topic=made,
            replication_factor=replication_factor,
            config=parse_settings(config, "--config"),
        )
    what = f"{count_of(len(archive.manifest.partitions), 'partition')}, {count_of(records, 'record')}"
    click.echo(f"imported {made}: {what}; it is there when the cluster is started")


def _watched(archive: ArchiveReader) -> Iterator[tuple[int, bytes]]:
    """The batches, with a progress bar."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=archive.size_bytes, label="import", file=sys.stderr, hidden=hidden) as bar:
        done = 0
        for partition, batches in archive.batches():
            yield partition, batches
            bar.update(archive.position - done)
            done = archive.position
