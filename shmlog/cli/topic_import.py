"""`shmlog topic import`: a topic of an archive, made in a cluster that runs or is stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import click

from shmlog.cli.attach import cluster_option, connect, parse_settings
from shmlog.cli.cluster_paths import ClusterPlace, find_cluster
from shmlog.cli.output import count_of


@click.command(
    "import",
    short_help="Make a topic of a file that `topic export` wrote.",
    epilog="""\b
Examples:
  shmlog topic import orders.tar                            while the cluster runs, or is stopped
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
    offset is the record at that offset, and where there was none there is none. Producers may append afterwards.

    While the cluster runs, give this command as its user; of one that is stopped, --data-dir and --log-dir say where
    its logs go. Retention goes by the times of records: --config retention.ms=-1 keeps what is old. Which producers
    sent the records is forgotten. All or nothing: after an error nothing of the topic is there. What is left when this
    command is killed, the next start of the cluster removes.
    """
    from shmlog.log.archive import ArchiveReader

    place = find_cluster(name, data_dir=data_dir)
    settings = parse_settings(config, "--config")
    with closing(ArchiveReader(file)) as archive:
        manifest = archive.manifest
    made = topic if topic is not None else manifest.topic
    if place.pid is not None:
        if data_dir is not None and os.path.realpath(place.data_dir) != os.path.realpath(data_dir):
            raise click.UsageError(
                f"--data-dir is for a cluster that is stopped, and {place.name!r} runs (pid {place.pid}) with its data"
                f" in {place.data_dir}: leave it out, or say with --name whose data is in {data_dir}"
            )
        if log_dirs:
            raise click.UsageError(
                f"--log-dir is for a cluster that is stopped, and {place.name!r} runs (pid {place.pid})"
            )
        with connect(place.name) as cluster, _bar(file) as advance:
            found = cluster.admin.import_topic(
                file, topic=made, replication_factor=replication_factor, config=settings, progress=advance
            )
        records = found.records
    else:
        records = _into_stopped(
            place, file, [os.path.abspath(one) for one in log_dirs], made, replication_factor, settings
        )
    when = "" if place.pid is not None else "; it is there when the cluster is started"
    click.echo(
        f"imported {made}: {count_of(len(manifest.partitions), 'partition')}, {count_of(records, 'record')}{when}"
    )


def _into_stopped(
    place: ClusterPlace, file: str, log_dirs: list[str], topic: str, replication_factor: int, config: dict[str, str]
) -> int:
    from shmlog.log.archive import ArchiveReader
    from shmlog.supervisor.topic_import import import_topic, stopped_cluster

    with (
        closing(ArchiveReader(file)) as archive,
        stopped_cluster(place.name, place.runtime, os.path.abspath(place.data_dir), log_dirs) as cluster,
        _bar(file) as advance,
    ):

        def watched() -> Iterator[tuple[int, bytes]]:
            for batches in archive.batches():
                yield batches
                advance(archive.position, archive.size_bytes)

        return import_topic(
            cluster, archive.manifest, watched(), topic=topic, replication_factor=replication_factor, config=config
        )


@contextmanager
def _bar(file: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, to be told how many bytes of `file` are done, and how many there are."""
    hidden, size = not sys.stderr.isatty(), os.path.getsize(file)
    with click.progressbar(length=size, label="import", file=sys.stderr, hidden=hidden) as bar:
        yield lambda done, _: bar.update(done - bar.pos)
