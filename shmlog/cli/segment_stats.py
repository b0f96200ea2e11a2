"""`shmlog segment stats`: a line for each segment, and one for all of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from shmlog.cli.output import count_of, human_bytes, output_option, print_json, text_table
from shmlog.cli.segment_files import files_below

if TYPE_CHECKING:
    from shmlog.log.segment_stats import SegmentStats

COLUMNS = ("segment", "offsets", "first", "last", "batches", "records", "bytes", "ratio", "codecs", "null keys")


@click.command(
    short_help="Count what is in segments.",
    epilog="""\b
Examples:
  shmlog segment stats data/orders-0                 each segment of a partition
  shmlog segment stats data -o json | jq '.[] | .records'
  shmlog segment stats /var/lib/kafka/data/orders-0  Kafka's files, too
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@output_option
def stats(files: tuple[str, ...], output: str) -> None:
    """Offsets, times (UTC), batches, records, bytes, compression and null keys of each segment FILE, or of every
    segment of a partition's or a data directory. Reads all of it.

    `ratio` is how many bytes without compression stand in one byte of the file. Damage makes the exit code 1:
    `shmlog segment verify` says what it is.
    """
    from shmlog.log.segment_stats import segment_stats

    found = [segment_stats(path) for path in files_below(files, (".log",))]
    if output == "json":
        print_json([_as_json(one) for one in found])
    else:
        click.echo(text_table(COLUMNS, [_row(one) for one in found]))
        records, size_bytes = sum(one.records for one in found), sum(one.size_bytes for one in found)
        what = f"{count_of(len(found), 'segment')}, {count_of(records, 'record')}, {human_bytes(size_bytes)}"
        click.echo(f"{what}{_ratio(sum(one.plain_bytes for one in found), size_bytes)}")
    for one in found:
        if one.damages:
            click.echo(f"{one.path} is damaged in {count_of(one.damages, 'place')}", err=True)
    if any(one.damages for one in found):
        raise click.exceptions.Exit(1)


def _row(one: SegmentStats) -> list[object]:
    return [
        one.path,
        f"{one.base_offset}..{one.next_offset - 1}" if one.batches else f"{one.base_offset}..",
        _time(one.first_timestamp_ms),
        _time(one.last_timestamp_ms),
        one.batches,
        one.records,
        one.size_bytes,
        one.ratio,
        _codecs(one.codecs),
        one.null_keys,
    ]


def _as_json(one: SegmentStats) -> dict[str, object]:
    fields = {name: getattr(one, name) for name in one.__slots__}
    return {**fields, "codecs": dict(one.codecs), "ratio": one.ratio}


def _codecs(codecs: Counter[str]) -> str:
    return ", ".join(name if len(codecs) == 1 else f"{name} {count}" for name, count in codecs.most_common()) or "-"


def _time(timestamp_ms: int | None) -> str:
    if timestamp_ms is None:
        return "-"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _ratio(plain_bytes: int, size_bytes: int) -> str:
    return f", {human_bytes(plain_bytes)} without compression" if plain_bytes > size_bytes else ""
