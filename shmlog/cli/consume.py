"""`shmlog consume`: print a topic's records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, require_partition, topic_argument
from shmlog.cli.cluster_paths import find_cluster
from shmlog.cli.output import require_reader
from shmlog.cli.record_format import CODES_HELP, Formatter, compile_format, json_line
from shmlog.cli.start_position import WORDS, Start

if TYPE_CHECKING:
    from shmlog import Consumer, TopicInfo, TopicPartition

POLL_RECORDS_MAX = 2000
POLL_TIMEOUT_S = 1.0


@click.command(
    epilog="""\b
Examples:
  shmlog consume orders                          everything that is there, then stop
  shmlog consume orders --follow --from latest   only what is new, until Ctrl-C
  shmlog consume orders --from @2013-01-31T08:00:00+00:00 --max 10
  shmlog consume orders -p 0 --from 42 -f '%p:%o %k = %v\\n'
"""
)
@topic_argument
@click.option("--from", "start", metavar="WHERE", help=f"{WORDS}. Default: earliest.")
@click.option("--from-beginning", is_flag=True, help="The same as --from earliest.")
@click.option("-F", "--follow", is_flag=True, help="At the end, wait for more, also across a restart of the cluster.")
@click.option("-m", "--max", "max_records", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("-p", "--partition", "partitions", multiple=True, type=int, help="Only this one; may be repeated.")
@click.option("-f", "--format", "text_format", metavar="FORMAT", help=f"{CODES_HELP}. Default: %v\\n.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: a line per record.")
@cluster_option
def consume(
    topic: str,
    start: str | None,
    from_beginning: bool,
    follow: bool,
    max_records: int | None,
    partitions: tuple[int, ...],
    text_format: str | None,
    output: str,
    name: str | None,
) -> None:
    """Print the records of TOPIC: from the earliest, up to the end that it has now, unless told otherwise."""
    if start is not None and from_beginning:
        raise click.UsageError("--from and --from-beginning exclude each other")
    if text_format is not None and output == "json":
        raise click.UsageError("--format is for text: -o json prints every field")
    where = Start.parse(start or "earliest")
    formatter = json_line if output == "json" else compile_format(text_format or "%v\\n")
    with connect(name) as cluster, cluster.consumer(auto_offset_reset="none") as consumer:
        places = _places(cluster.admin.describe_topic(topic), partitions)
        consumer.assign(places)
        ranges = {place: consumer.watermarks(place) for place in places}
        where.apply(consumer, ranges)
        ends = None if follow else {place: high for place, (_, high) in ranges.items()}
        on_idle = ClusterWatch(cluster.name).look if follow else require_reader
        print_records(consumer, formatter, ends, max_records, on_idle)


class ClusterWatch:
    """For who waits: says on standard error when the cluster's supervisor has ended and when one runs again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._runs = True

    def look(self) -> None:
        """Raises BrokenPipeError if nobody reads our output any more."""
        require_reader()
        runs = find_cluster(self._name).pid is not None
        if runs == self._runs:
            return
        self._runs = runs
        ended = f"has ended: waiting until it runs again (shmlog up --name {self._name})"
        click.echo(f"the supervisor of cluster {self._name!r} {'runs again' if runs else ended}", err=True)


def print_records(
    consumer: Consumer,
    formatter: Formatter,
    ends: dict[TopicPartition, int] | None,
    max_records: int | None,
    on_idle: Callable[[], None],
) -> int:
    """Print up to `ends` (None: for ever) or `max_records`, whichever comes first; returns how many.

    `on_idle` is called whenever nothing came for POLL_TIMEOUT_S.
    """
    printed = 0
    out = sys.stdout.buffer
    while max_records is None or printed < max_records:
        if ends is not None and all(consumer.position(place) >= end for place, end in ends.items()):
            break
        most = POLL_RECORDS_MAX if max_records is None else min(POLL_RECORDS_MAX, max_records - printed)
        records = consumer.poll(max_records=most, timeout=POLL_TIMEOUT_S)
        if not records:
            on_idle()
            continue
        wanted = records
        if ends is not None:
            limits = {(place.topic, place.partition): end for place, end in ends.items()}
            wanted = [record for record in records if record.offset < limits[record.topic, record.partition]]
        out.write(b"".join(map(formatter, wanted)))
        out.flush()
        printed += len(wanted)
    return printed


def _places(topic: TopicInfo, numbers: tuple[int, ...]) -> list[TopicPartition]:
    from shmlog import TopicPartition

    for number in numbers:
        require_partition(topic, number)
    return [TopicPartition(topic.name, number) for number in (sorted(set(numbers)) or range(len(topic.partitions)))]
