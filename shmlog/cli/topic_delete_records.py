"""`shmlog topic delete-records`: the oldest records of a topic go, up to an offset or a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, topic_argument
from shmlog.cli.output import count_of, output_option, print_rows
from shmlog.cli.start_position import Start
from shmlog.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from shmlog import Cluster, TopicPartition


@click.command(
    "delete-records",
    epilog="""\b
Examples:
  shmlog topic delete-records clicks --before @2013-01-31T08:00:00+00:00
  shmlog topic delete-records clicks --partition 2 --before 1000 --dry-run
  shmlog topic delete-records clicks --before latest --yes
""",
)
@topic_argument
@click.option(
    "--before",
    required=True,
    metavar="OFFSET|@TIME|latest",
    help="Delete what is before this offset, or before the first record of that time or later; latest: everything.",
)
@click.option("-p", "--partition", "numbers", type=int, multiple=True, help="Only this one; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@cluster_option
@output_option
def delete_records(
    topic: str, before: str, numbers: tuple[int, ...], dry_run: bool, yes: bool, name: str | None, output: str
) -> None:
    """Delete the oldest records of TOPIC. Asks first; where there is no terminal to ask on, --yes is needed.

    They cannot be read any more from then on. Their disk space comes back with whole segments.
    """
    limit = Start.parse(before, "--before")
    with connect(name) as cluster:
        ranges = _ranges(cluster, topic, numbers)
        starts = _new_starts(cluster, limit, ranges)
        what = count_of(sum(starts[place] - low for place, (low, _) in ranges.items()), "record") + f" of {topic}"
        if not dry_run:
            if not yes:
                if sys.stdin is None or not sys.stdin.isatty():
                    raise click.UsageError(f"{what}: to delete them without a terminal to ask on, give --yes")
                click.confirm(f"delete {what}?", abort=True)
            starts = cluster.admin.delete_records(starts)
    rows: list[dict[str, object]] = [
        {"partition": place.partition, "start_before": low, "start": starts[place], "end": high}
        for place, (low, high) in ranges.items()
    ]
    print_rows(output, rows, ["partition", "start_before", "start", "end"], empty="no partitions")
    if output != "json":
        click.echo(f"{'would delete' if dry_run else 'deleted'} {what}", err=True)


def _ranges(cluster: Cluster, topic: str, numbers: tuple[int, ...]) -> dict[TopicPartition, tuple[int, int]]:
    """Log start and high watermark of the partitions that are meant."""
    count = len(cluster.admin.describe_topic(topic).partitions)
    unknown = [number for number in numbers if not 0 <= number < count]
    if unknown:
        raise UnknownTopicOrPartitionError(f"topic {topic!r} has partitions 0 to {count - 1}, not {unknown[0]}")
    with cluster.consumer(topic) as consumer:
        marks = {place: consumer.watermarks(place) for place in sorted(consumer.assignment())}
    return {place: (low, high) for place, (low, high) in marks.items() if not numbers or place.partition in numbers}


def _new_starts(
    cluster: Cluster, limit: Start, ranges: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, int]:
    """Where each begins afterwards. Raises OffsetOutOfRangeError before anything is deleted anywhere."""
    if limit.latest:
        return {place: high for place, (_, high) in ranges.items()}
    if limit.time_ms is not None:
        with cluster.consumer() as consumer:
            consumer.assign(list(ranges))
            found = consumer.offsets_for_times(dict.fromkeys(ranges, limit.time_ms))
        first = {place: one.offset for place, one in found.items() if one is not None}
        return {place: first.get(place, high) for place, (_, high) in ranges.items()}
    offset = limit.offset or 0
    for place, (_, high) in ranges.items():
        if offset > high:
            raise OffsetOutOfRangeError(
                f"offset {offset} is beyond the high watermark of {place}, {high}: give a lower one, or --partition"
            )
    return {place: max(low, offset) for place, (low, _) in ranges.items()}
