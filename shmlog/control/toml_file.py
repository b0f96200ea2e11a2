"""TOML files that people write: where an error is, and names with dots as one name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shmlog.errors import InvalidConfigError

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def read_toml(path: str, what: str) -> dict[str, Any]:
    """The tables of the file at `path`; `what` it is, for errors: InvalidConfigError with line and column."""
    import tomllib  # only who has a configuration file needs it

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InvalidConfigError(f"cannot read the {what} {path}: {error.strerror}") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise InvalidConfigError(f"{path}, line {line}, column {column}: this is not UTF-8 text") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        lines = text.split("\n")
        line, column = (int(found[1]), int(found[2])) if found else (len(lines), len(lines[-1]) + 1)
        reason = _PLACE.sub("", str(error)).replace("(at end of document)", "at the end of the file").strip()
        raise InvalidConfigError(f"{path}, line {line}, column {column}: {reason}") from None


def dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """TOML reads `retention.ms = 1` as a table in a table; here it is one name again."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
