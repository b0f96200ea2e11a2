"""The configuration file: TOML with the tables [cluster] and [topic-defaults], settings by their Kafka names."""

from __future__ import annotations

from shmlog.control.toml_file import dotted, read_toml
from shmlog.errors import InvalidConfigError
from shmlog.kafka_settings import explanation
from shmlog.setting_tables import CLUSTER, TOPIC
from shmlog.settings import ClusterConfig, did_you_mean, refusal

TABLES = ("cluster", "topic-defaults")


def load_config(path: str) -> ClusterConfig:
    """The settings in the file at `path`. Every error is an InvalidConfigError that names file, and line or setting."""
    tables = read_toml(path, "configuration file")
    for name, table in tables.items():
        if name not in TABLES:
            raise InvalidConfigError(f"{path}: {_misplaced(name, table)}")
        if not isinstance(table, dict):
            raise InvalidConfigError(f"{path}: {name} must be a table: write [{name}] on a line of its own")
    try:
        return ClusterConfig.from_mapping(
            dict(dotted(tables.get("cluster", {}))), dict(dotted(tables.get("topic-defaults", {})))
        )
    except InvalidConfigError as error:
        raise InvalidConfigError(f"{path}: {error}") from None


def _misplaced(name: str, table: object) -> str:
    """What is wrong with something that is in neither table; TOML makes a table of a dotted name outside of them."""
    for setting, _ in dotted({name: table}):
        for home, known in (("cluster", CLUSTER), ("topic-defaults", TOPIC)):
            if setting in known:
                return f"{setting} belongs into a table: write it below a line [{home}]"
        if not isinstance(table, dict) or explanation(setting):
            return str(refusal(setting, "cluster"))
    return f"unknown table [{name}]" + did_you_mean(name, TABLES)
