"""How results are printed: aligned text for people, JSON for programs; both to standard output."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import orjson

Command = TypeVar("Command", bound=Callable[..., Any])

COLUMN_GAP = 2
NAME_WIDTH_MIN = 20
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def output_option(command: Command) -> Command:
    """Adds -o; the command gets `output`, "table" or "json"."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Aligned text, or JSON for programs.",
    )(command)


def print_json(value: object) -> None:
    """One JSON value; indented where a person reads it, else on one line."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    if sys.stdout.isatty():
        options |= orjson.OPT_INDENT_2
    sys.stdout.write(orjson.dumps(value, option=options).decode())
    sys.stdout.flush()


def require_reader() -> None:
    """For commands that wait: raise BrokenPipeError if nobody reads our output any more, as the next write would."""
    asked = select.poll()
    asked.register(sys.stdout.fileno(), 0)
    if asked.poll(0):
        raise BrokenPipeError


def text_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns aligned: numbers right, texts left; two spaces between; no trailing blanks."""
    cells = [[cell_text(value) for value in row] for row in rows]
    values = list(zip(*cells, strict=True)) if cells else [()] * len(headers)
    numeric = [bool(column) and all(_is_number(text) for text in column) for column in values]
    widths = [max([len(header), *map(len, column)]) for header, column in zip(headers, values, strict=True)]
    lines = []
    for line in [list(headers), *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def fit(headers: Sequence[str], rows: list[list[str]], width: int, left_out_first: Sequence[str]) -> list[list[str]]:
    """`headers` and `rows` as lines of at most `width` characters with COLUMN_GAP between the columns.

    Columns of `left_out_first` go until the others have room in full. Of the names in the first column NAME_WIDTH_MIN
    characters count; what of a longer one has no room is cut out of its middle, so that a partition's number stays.
    """
    lines = [list(headers), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    chosen = list(range(1, len(headers)))
    room = width
    for left_out in ("", *left_out_first):
        chosen = [number for number in chosen if headers[number] != left_out]
        room = width - sum(widths[number] + COLUMN_GAP for number in chosen)
        if room >= min(widths[0], NAME_WIDTH_MIN):
            break
    return [[_cut(line[0], max(room, 1)), *(line[number] for number in chosen)] for line in lines]


def _cut(name: str, room: int) -> str:
    if len(name) <= room:
        return name
    tail = name[len(name) - room // 3 :] if room >= 3 else ""
    return f"{name[: room - 1 - len(tail)]}…{tail}"


def print_rows(output: str, rows: Sequence[dict[str, object]], columns: Sequence[str], *, empty: str) -> None:
    """Rows as a JSON array with all their keys, or as a table of `columns`; `empty` is said when there are none."""
    if output == "json":
        print_json(list(rows))
    elif not rows:
        click.echo(empty, err=True)
    else:
        click.echo(
            text_table([column.replace("_", " ") for column in columns], [[r[c] for c in columns] for r in rows])
        )


def count_of(number: int, noun: str, plural: str = "") -> str:
    """1, "record" -> "1 record"; 2000 -> "2,000 records"; `plural` where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    value = float(count)
    for unit in BYTE_UNITS:
        if abs(value) < 1024 or unit == BYTE_UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")


def human_rate(per_second: float) -> str:
    """1234567 -> "1.23 M/s"."""
    if per_second >= 1e6:
        return f"{per_second / 1e6:.2f} M/s"
    return f"{per_second / 1e3:.1f} k/s" if per_second >= 1e4 else f"{per_second:.0f}/s"


def cell_text(value: object) -> str:
    """How a value looks in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return printable(str(value))


def printable(text: str) -> str:
    """Names that anybody may give, on one line and without a word to the terminal: what has no look is escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").removeprefix("-")[:1].isdigit()
