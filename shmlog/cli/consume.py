"""`shmlog consume`: print a topic's records."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, topic_argument
from shmlog.cli.record_format import CODES_HELP, Formatter, compile_format, json_line
from shmlog.cli.start_position import WORDS, Start
from shmlog.errors import UnknownTopicOrPartitionError

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
@click.option("-F", "--follow", is_flag=True, help="At the end, wait for more.")
@click.option("-m", "--max", "max_records", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("-p", "--partition", "partitions", multiple=True, type=int, help="Only this one; may be repeated.")
@click.option("-f", "--format", "text_format", metavar="FORMAT", default="%v\\n", help=CODES_HELP)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: a line per record.")
@cluster_option
def consume(
    topic: str,
    start: str | None,
    from_beginning: bool,
    follow: bool,
    max_records: int | None,
    partitions: tuple[int, ...],
    text_format: str,
    output: str,
    name: str | None,
) -> None:
    """Print the records of TOPIC: from the earliest, up to the end that it has now, unless told otherwise."""
    if start is not None and from_beginning:
        raise click.UsageError("--from and --from-beginning exclude each other")
    where = Start.parse(start or "earliest")
    formatter = json_line if output == "json" else compile_format(text_format)
    with connect(name) as cluster, cluster.consumer(auto_offset_reset="none") as consumer:
        places = _places(cluster.admin.describe_topic(topic), partitions)
        consumer.assign(places)
        ranges = {place: consumer.watermarks(place) for place in places}
        where.apply(consumer, ranges)
        ends = None if follow else {place: high for place, (_, high) in ranges.items()}
        print_records(consumer, formatter, ends, max_records)


def print_records(
    consumer: Consumer, formatter: Formatter, ends: dict[TopicPartition, int] | None, max_records: int | None
) -> int:
    """Print up to `ends` (None: for ever) or `max_records`, whichever comes first; returns how many."""
    printed = 0
    out = sys.stdout.buffer
    while max_records is None or printed < max_records:
        if ends is not None and all(consumer.position(place) >= end for place, end in ends.items()):
            break
        most = POLL_RECORDS_MAX if max_records is None else min(POLL_RECORDS_MAX, max_records - printed)
        records = consumer.poll(max_records=most, timeout=POLL_TIMEOUT_S)
        if not records:
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

    count = len(topic.partitions)
    for number in numbers:
        if not 0 <= number < count:
            raise UnknownTopicOrPartitionError(
                f"topic {topic.name!r} has no partition {number}; it has {count}: 0 to {count - 1}"
            )
    return [TopicPartition(topic.name, number) for number in (sorted(set(numbers)) or range(count))]
