"""`shmlog topic export`: a topic of a running cluster in one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, topic_argument
from shmlog.cli.output import count_of, human_bytes
from shmlog.errors import LeaderNotAvailableError

if TYPE_CHECKING:
    from shmlog import LogReader
    from shmlog.log.archive import ArchivedPartition, ArchiveWriter


@click.command(
    short_help="Write a topic into one file.",
    epilog="""\b
Examples:
  shmlog topic export orders orders.tar              while producers and consumers go on
  shmlog topic export orders orders.tar.gz           compressed, for batches that are not
""",
)
@topic_argument
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--overwrite", is_flag=True, help="FILE may be there already.")
@cluster_option
def export(topic: str, file: str, overwrite: bool, name: str | None) -> None:
    """Write all records of TOPIC that consumers can see now into FILE, a tar archive, with their offsets, times and
    headers, and the topic's settings. `shmlog topic import` makes a topic of it.

    Batches are taken from the files of the log as they are, compressed or not, and their checksums are verified.
    """
    import shmlog
    from shmlog.clock import wall_ms
    from shmlog.log.archive import ArchivedPartition, ArchiveWriter, Manifest
    from shmlog.version import VERSION

    if os.path.exists(file) and not overwrite:
        raise click.UsageError(f"{file} is there already: give --overwrite, or another name")
    with connect(name) as cluster:
        found = cluster.admin.describe_topic(topic)
        ends = {
            place.partition: at["high_watermark"] for place, at in cluster.metrics().items() if place.topic == topic
        }
        for one in found.partitions:
            if one.partition not in ends:
                raise LeaderNotAvailableError(
                    f"partition {topic}-{one.partition} is {one.state}, and nobody says up to where its records count:"
                    " see `shmlog status`, and try again when it runs"
                )
        logs = {one.partition: shmlog.open_log(one.log_dir) for one in found.partitions}
        partitions = []
        for number, log in logs.items():
            start, end = log.start_offset, ends[number]
            epochs = [[one.epoch, one.start_offset] for one in log.leader_epochs() if one.start_offset <= end]
            partitions.append(ArchivedPartition(number, min(start, end), end, epochs))
        manifest = Manifest(topic, found.config, partitions, wall_ms(), VERSION)
        with _naming(file), ArchiveWriter(file, manifest) as archive:
            offsets = sum(one.end_offset - one.start_offset for one in partitions)
            hidden = not sys.stderr.isatty()
            with click.progressbar(length=offsets, label="export", file=sys.stderr, hidden=hidden) as bar:
                records = sum(_write(archive, logs[one.partition], one, bar.update) for one in partitions)
            size_bytes = archive.finish()
    what = f"{count_of(len(partitions), 'partition')}, {count_of(records, 'record')}, {human_bytes(size_bytes)}"
    click.echo(f"exported {topic} to {file}: {what}")


@contextmanager
def _naming(file: str) -> Iterator[None]:
    """What the kernel says of FILE names it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and error.filename != file + ".part":
            raise
        raise OSError(error.errno, f"{error.strerror}; nothing was exported", file) from error


def _write(archive: ArchiveWriter, log: LogReader, partition: ArchivedPartition, advance: Callable[[int], None]) -> int:
    """Returns how many records there were. `advance` is told how many offsets have been passed."""
    from shmlog.log.archive import MEMBER_BYTES
    from shmlog.record.batch import count_from
    from shmlog.record.header import headers_of

    records, waiting, first = 0, bytearray(), partition.start_offset
    done = partition.start_offset
    for batches in log.batches(partition.start_offset, end_offset=partition.end_offset):
        headers = headers_of(batches)
        if not waiting:
            first = headers[0].base_offset
        waiting += batches
        records += count_from(batches, headers[0], 0, partition.start_offset)
        records += sum(header.record_count for header in headers[1:])
        if len(waiting) >= MEMBER_BYTES:
            archive.add(partition.partition, first, bytes(waiting))
            waiting.clear()
        advance(headers[-1].next_offset - done)
        done = headers[-1].next_offset
    if waiting:
        archive.add(partition.partition, first, bytes(waiting))
    return records
