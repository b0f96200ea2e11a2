"""The configuration file: TOML with the tables [cluster] and [topic-defaults], settings by their Kafka names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shmlog.errors import InvalidConfigError
from shmlog.kafka_settings import explanation
from shmlog.settings import CLUSTER, TOPIC, ClusterConfig, did_you_mean, refusal

TABLES = ("cluster", "topic-defaults")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def load_config(path: str) -> ClusterConfig:
    """The settings in the file at `path`. Every error is an InvalidConfigError that names file, and line or setting."""
    tables = _read(path)
    for name, table in tables.items():
        if name not in TABLES:
            raise InvalidConfigError(f"{path}: {_misplaced(name, table)}")
        if not isinstance(table, dict):
            raise InvalidConfigError(f"{path}: {name} must be a table: write [{name}] on a line of its own")
    try:
        return ClusterConfig.from_mapping(
            dict(_dotted(tables.get("cluster", {}))), dict(_dotted(tables.get("topic-defaults", {})))
        )
    except InvalidConfigError as error:
        raise InvalidConfigError(f"{path}: {error}") from None


def _misplaced(name: str, table: object) -> str:
    """What is wrong with something that is in neither table; TOML makes a table of a dotted name outside of them."""
    for setting, _ in _dotted({name: table}):
        for home, known in (("cluster", CLUSTER), ("topic-defaults", TOPIC)):
            if setting in known:
                return f"{setting} belongs into a table: write it below a line [{home}]"
        if not isinstance(table, dict) or explanation(setting):
            return str(refusal(setting, "cluster"))
    return f"unknown table [{name}]" + did_you_mean(name, TABLES)


def _read(path: str) -> dict[str, Any]:
    import tomllib  # only who has a configuration file needs it

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InvalidConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
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


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """TOML reads `retention.ms = 1` as a table in a table; here it is one name again."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
