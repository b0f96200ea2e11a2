"""`shmlog segment`: what stands in a partition's files, and whether it is sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import orjson

from shmlog.cli.output import output_option, print_json, text_table
from shmlog.cli.scrub.command import scrub
from shmlog.cli.segment_files import files_below, require_file
from shmlog.cli.segment_repair import repair
from shmlog.cli.segment_stats import stats
from shmlog.errors import CorruptRecordError, InvalidRequestError

if TYPE_CHECKING:
    from shmlog.log.dump import BatchRow, Damage

Rows = Iterator[dict[str, object]]


@click.group()
def segment() -> None:
    """Look into segment files, verify and repair them."""


for verb in (repair, scrub, stats):
    segment.add_command(verb)


@segment.command(
    short_help="Print what stands in a file.",
    epilog="""\b
Examples:
  shmlog segment dump data/orders-0/00000000000000000000.log
  shmlog segment dump --records data/orders-0/00000000000000000000.log | head
  shmlog segment dump data/orders-0/00000000000000000000.index -o json
""",
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--records", is_flag=True, help="Of a .log: every record, as consume -o json prints it.")
@output_option
def dump(file: str, records: bool, output: str) -> None:
    """Print the batches of a .log FILE, or the entries of an .index, .timeindex or .snapshot.

    Damage is a row of its own, and makes the exit code 1.
    """
    require_file(file)
    is_sound = _print_records(file) if records else _print_rows(file, output)
    if not is_sound:
        raise CorruptRecordError(f"{file} is damaged: `shmlog segment verify` says what of it can be recovered")


@segment.command(
    short_help="Check files, a partition or a data directory.",
    epilog="""\b
Examples:
  shmlog segment verify data/orders-0/00000000000000000000.log
  shmlog segment verify data/orders-0/*.log data/orders-0/*.index
  shmlog segment verify data/orders-0              every file of the partition
  shmlog segment verify data                       every partition of a data directory
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@output_option
def verify(files: tuple[str, ...], output: str) -> None:
    """Check every FILE, or every file of a partition's or a data directory: checksums, offsets, indexes.

    What is wrong is said with file, offset and what can be recovered; then the exit code is 1.
    """
    from shmlog.log.dump import verify as verify_file

    verdicts = [verify_file(file) for file in files_below(files)]
    if output == "json":
        print_json([{name: getattr(v, name) for name in v.__slots__} for v in verdicts])
    else:
        for verdict in verdicts:
            click.echo(verdict.summary, err=not verdict.sound)
    if not all(verdict.sound for verdict in verdicts):
        raise click.exceptions.Exit(1)


def _rows(file: str) -> Rows:
    from shmlog.log import dump as files

    if file.endswith(".log"):
        return (_batch_row(row) for row in files.dump_log(file))
    if file.endswith(".timeindex"):
        return ({"timestamp_ms": entry.timestamp_ms, "offset": entry.offset} for entry in files.dump_time_index(file))
    if file.endswith(".index"):
        return ({"offset": entry.offset, "position": entry.position} for entry in files.dump_offset_index(file))
    return ({name: getattr(e, name) for name in e.__slots__} for e in files.dump_snapshot(file))


def _print_rows(file: str, output: str) -> bool:
    """Returns whether none of them is damage."""
    listed = []
    is_sound = True
    for row in _rows(file):
        is_sound = is_sound and "damage" not in row
        if output == "json":
            click.echo(orjson.dumps(row).decode())
        else:
            listed.append(row)
    if listed:
        columns = max((list(row) for row in listed), key=len)
        cells = [[_cell(row, column) for column in columns] for row in listed]
        click.echo(text_table([column.replace("_", " ") for column in columns], cells))
    elif output != "json":
        click.echo(f"{file}: empty", err=True)
    return is_sound


def _batch_row(row: BatchRow | Damage) -> dict[str, object]:
    from shmlog.log.dump import Damage

    if isinstance(row, Damage):
        after = f"sound again at byte {row.resumes_at}" if row.resumes_at is not None else "nothing sound after it"
        return {"position": row.position, "offset": row.expected_offset, "damage": f"{row.problem}; {after}"}
    header = row.header
    return {
        "position": row.position,
        "offset": header.base_offset,
        "last": header.last_offset,
        "records": header.record_count,
        "bytes": header.size_bytes,
        "epoch": header.leader_epoch,
        "producer": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "sequence": header.base_sequence,
        "max_timestamp_ms": header.max_timestamp_ms,
        "codec": header.codec,
        "crc": f"{header.crc:08x}",
    }


def _cell(row: dict[str, object], header: str) -> object:
    if "damage" in row:
        return f"DAMAGE: {row['damage']}" if header == "crc" else row.get(header)
    value = row[header]
    return str(value) if header in ("max_timestamp_ms", "timestamp_ms", "producer") else value


def _print_records(file: str) -> bool:
    """Returns whether there is no damage between them."""
    from shmlog.cli.record_format import json_line
    from shmlog.log.dump import Damage, dump_log
    from shmlog.native.records import decode_batches
    from shmlog.record.expansion import expand

    if not file.endswith(".log"):
        raise InvalidRequestError(f"{file}: only a .log holds records")
    topic, _, number = os.path.basename(os.path.dirname(os.path.abspath(file))).rpartition("-")
    number = number.partition(".r")[0]  # of a further replica in its directory
    partition = int(number) if number.isdecimal() else 0
    out = sys.stdout.buffer
    is_sound = True
    with open(file, "rb") as stream:
        for row in dump_log(file):
            if isinstance(row, Damage):
                is_sound = False
                click.echo(f"damage at byte {row.position}, offset {row.expected_offset}: {row.problem}", err=True)
                continue
            stream.seek(row.position)
            batch, _ = expand(stream.read(row.header.size_bytes), file, 1)
            found, *_ = decode_batches(
                batch, topic, partition, row.header.base_offset, row.header.next_offset, row.header.record_count
            )
            out.write(b"".join(map(json_line, found)))
    return is_sound
