"""Where the demo's records come from: the flights, or a user's own .jsonl or .csv file."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from shmlog.cli.demo import flights
from shmlog.cli.demo.flights import InputError, Wanted, compact_json

FORMATS = (".jsonl", ".csv")


class KeyedValue(NamedTuple):
    """What is sent: the bytes of a key, or None, and of a value."""

    key: bytes | None
    value: bytes


def producer_of(number: int, key: bytes | None, producers: int) -> int:
    """Which producer sends the record of that number, from 0: one per key, in turn without key."""
    return (number if key is None else zlib.crc32(key)) % producers


@dataclass(frozen=True, slots=True)
class Source:
    """An input that can be read again and again, always in the same order. Without a file: the flights.

    Without `key_field` no record of a file has a key.
    """

    file: str | None = None
    key_field: str | None = None

    @property
    def is_flights(self) -> bool:
        return self.file is None

    def records(self) -> Iterator[KeyedValue]:
        """All records in file order. Raises InputError naming file and line."""
        return self._wanted(lambda number, key: True)

    def share_of(self, producer: int, producers: int) -> Iterator[KeyedValue]:
        """The records of one producer: every key belongs to one producer, so that its order is the file's."""

        def is_ours(number: int, key: str | None) -> bool:
            return producer_of(number, None if key is None else key.encode(), producers) == producer

        return self._wanted(is_ours)

    def _wanted(self, wanted: Wanted) -> Iterator[KeyedValue]:
        if self.file is None:
            rows = flights.rows(wanted)
        else:
            own = enumerate(self._own_rows(Path(self.file)))
            rows = (row for number, row in own if wanted(number, row[0]))
        for key, value in rows:
            yield KeyedValue(None if key is None else key.encode(), value)

    def _own_rows(self, file: Path) -> Iterator[tuple[str | None, bytes]]:
        if file.suffix not in FORMATS:
            raise InputError(f"{file}: its name must end with {' or '.join(FORMATS)}")
        try:
            yield from self._json_rows(file) if file.suffix == ".jsonl" else self._csv_rows(file)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from error

    def _json_rows(self, file: Path) -> Iterator[tuple[str | None, bytes]]:
        """Lines are replayed byte for byte; empty ones are left out."""
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                line = raw.rstrip(b"\r\n")
                if not line:
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise InputError(f"{file}: line {number}: {error}") from error
                if not isinstance(row, dict):
                    raise InputError(f"{file}: line {number}: a JSON object is needed, not {type(row).__name__}")
                yield self._key(row, file, number), line

    def _csv_rows(self, file: Path) -> Iterator[tuple[str | None, bytes]]:
        """Each row becomes a JSON object of texts, named by the header line."""
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            try:
                names = next(reader, [])
                for row in reader:
                    if not row:
                        continue
                    if len(row) != len(names):
                        raise InputError(
                            f"{file}: line {reader.line_num}: {len(row)} fields, but the header has {len(names)}"
                        )
                    fields = dict(zip(names, row, strict=True))
                    yield self._key(fields, file, reader.line_num), compact_json(fields)
            except csv.Error as error:
                raise InputError(f"{file}: line {reader.line_num}: {error}") from error

    def _key(self, row: Mapping[str, object], file: Path, line: int) -> str | None:
        """The key field as text; None where it is null or empty, or where none was named."""
        if self.key_field is None:
            return None
        try:
            value = row[self.key_field]
        except KeyError:
            known = ", ".join(list(row)[:10])
            raise InputError(
                f"{file}: line {line}: no field {self.key_field!r}; there are: {known} (see --key)"
            ) from None
        if value is None or value == "":
            return None
        return value if isinstance(value, str) else orjson.dumps(value).decode()
