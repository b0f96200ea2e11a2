"""`shmlog segment repair`: what is wrong with the files of a log that nobody has open, put right."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from shmlog.cli.output import count_of, output_option, print_json
from shmlog.cli.segment_files import partitions_below

if TYPE_CHECKING:
    from shmlog.log.repair import Repair

LOCK_FILE = ".lock"


@click.command(
    short_help="Rebuild indexes and cut a torn end, of a log that nobody has open.",
    epilog="""\b
Examples:
  shmlog segment repair data/orders-0 --dry-run      what would be done
  shmlog segment repair data                         every partition of a cluster that is stopped
  shmlog segment repair copy-of-kafka/orders-0       Kafka's files, too
""",
)
@click.argument("directories", nargs=-1, required=True, type=click.Path(file_okay=False), metavar="DIRECTORY...")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@output_option
def repair(directories: tuple[str, ...], dry_run: bool, output: str) -> None:
    """Put the files of partitions in order: indexes that are missing or do not fit their logs are made anew, and the
    end of a log that is no sound batch is cut off. A copy of what is cut is kept beside it, as *.damaged.

    Takes partitions' directories, or directories of them. Refuses those that a cluster or a broker has in use; clusters
    of shmlog do all of this themselves when they start. Damage in front of sound segments is left as it is, and makes
    the exit code 1: `shmlog segment scrub --repair` mends it from another replica.
    """
    from shmlog.log.repair import repairs
    from shmlog.log.storage import OsStorage
    from shmlog.settings import TopicConfig

    partitions = [found for directory in directories for found in partitions_below(directory)]
    interval = TopicConfig.from_mapping({}).index_interval_bytes
    found: list[Repair] = []
    with _held(partitions):
        for directory in partitions:
            for one in repairs(OsStorage(), os.path.abspath(directory), interval, dry_run=dry_run):
                found.append(one)
                if output != "json":
                    click.echo(_sentence(one, dry_run=dry_run), err=not one.done)
    if output == "json":
        print_json([asdict(one) for one in found])
    else:
        done = "would be repaired" if dry_run else "repaired"
        click.echo(
            f"{count_of(len(partitions), 'partition')}: {sum(bool(one.done) for one in found)} {done},"
            f" {sum(not one.done for one in found)} left"
        )
    if not all(one.done for one in found):
        raise click.exceptions.Exit(1)


@contextmanager
def _held(partitions: Sequence[str]) -> Iterator[None]:
    """Nobody else opens the log directories of these partitions meanwhile. Raises DataDirectoryInUseError."""
    from shmlog.control import data_directory

    with ExitStack() as held:
        for parent in dict.fromkeys(os.path.dirname(os.path.abspath(one)) for one in partitions):
            if os.path.exists(os.path.join(parent, LOCK_FILE)):
                held.callback(data_directory.lock(parent, "log directory").release, remove=False)
        yield


def _sentence(one: Repair, *, dry_run: bool) -> str:
    if not one.done:
        return f"{one.path}: {one.problem}; left as it is"
    return f"{one.path}: {one.problem}; {'would be ' if dry_run else ''}{one.done}"
