"""How `shmlog consume` prints a record: a format with % codes, compiled once, or a line of JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import orjson

from shmlog.cli.escapes import unescape

if TYPE_CHECKING:
    from shmlog import Record

Formatter = Callable[["Record"], bytes]

NULL = b"NULL"
_CODE = re.compile(rb"%(.|$)", re.DOTALL)

CODES: dict[bytes, Callable[[Any], bytes]] = {
    b"t": lambda record: record.topic.encode(),
    b"p": lambda record: b"%d" % record.partition,
    b"o": lambda record: b"%d" % record.offset,
    b"T": lambda record: b"%d" % record.timestamp_ms,
    b"k": lambda record: NULL if record.key is None else record.key,
    b"v": lambda record: NULL if record.value is None else record.value,
    b"K": lambda record: b"%d" % (-1 if record.key is None else len(record.key)),
    b"V": lambda record: b"%d" % (-1 if record.value is None else len(record.value)),
    b"h": lambda record: b",".join(
        name.encode() + b"=" + (NULL if value is None else value) for name, value in record.headers
    ),
    b"%": lambda record: b"%",
}
CODES_HELP = "%t topic, %p partition, %o offset, %k key, %v value, %T time in ms, %h headers, %K %V lengths, %% percent"


def compile_format(text: str) -> Formatter:
    r"""A function from records to bytes; usage error for an unknown code. \n and the like are understood."""
    pieces: list[bytes | Callable[[Any], bytes]] = []
    end = 0
    raw = unescape(text)
    for match in _CODE.finditer(raw):
        code = match.group(1)
        if code not in CODES:
            raise click.UsageError(f"{text!r}: there is no code %{code.decode(errors='replace')}; {CODES_HELP}")
        pieces += [raw[end : match.start()], CODES[code]]
        end = match.end()
    pieces.append(raw[end:])
    if [piece for piece in pieces if piece != b""] == [CODES[b"v"], b"\n"]:
        return lambda record: (NULL if record.value is None else record.value) + b"\n"
    return lambda record: b"".join([piece if isinstance(piece, bytes) else piece(record) for piece in pieces])


def json_line(record: Record) -> bytes:
    """One record as a line of JSON; bytes that are not UTF-8 as {"base64": ...}."""
    fields = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _text(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
