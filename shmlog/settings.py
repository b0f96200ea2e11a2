"""Every setting by its Kafka name: type, default, range, and one sentence that says what it does.

Dots in files and on the command line (`retention.ms`), underscores as keyword arguments (`retention_ms`). Defaults are
Kafka's unless the sentence says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shmlog.errors import InvalidConfigError
from shmlog.kafka_settings import explanation
from shmlog.limits import RING_BATCHES_MIN, RING_BYTES_MIN
from shmlog.setting import Setting
from shmlog.setting_tables import SCOPES, TOPIC, Scope

_HOMES: Final[dict[Scope, str]] = {
    "topic": "to a topic (config= of create_topic, --config of `shmlog topic`) or in [topic-defaults]",
    "cluster": "in [cluster] of the configuration file",
    "producer": "to the producer: cluster.producer(...)",
    "consumer": "to the consumer: cluster.consumer(...)",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to end an error message with, such as `: did you mean "flights"?`; empty if nothing is close."""
    from difflib import get_close_matches  # only errors need it

    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f": did you mean {close[0]!r}?" if close else ""


def find(scope: Scope, name: str) -> Setting:
    """The setting called `name` (dotted or underscored); InvalidConfigError, which says more, if there is none."""
    dotted = name.replace("_", ".")
    if dotted not in SCOPES[scope]:
        raise refusal(name, scope)
    return SCOPES[scope][dotted]


def refusal(name: str, *scopes: Scope) -> InvalidConfigError:
    """The error for a `name` that is none of the settings of `scopes`: it belongs elsewhere, is one of Kafka's that we
    do not have, or is misspelt."""
    dotted = name.replace("_", ".")
    homes = [_HOMES[scope] for scope, table in SCOPES.items() if dotted in table]
    if homes:
        return InvalidConfigError(f"{name!r} is no {scopes[0]} setting: it belongs {' or '.join(homes)}")
    why = explanation(dotted)
    if why:
        return InvalidConfigError(f"{name!r} {why}")
    known = [known for scope in scopes for known in SCOPES[scope]]
    hint = did_you_mean(dotted, known) or f": `shmlog config list --scope {scopes[0]}` shows what there is"
    return InvalidConfigError(f"unknown {scopes[0]} setting {name!r}{hint}")


def parse(scope: Scope, given: Mapping[str, object]) -> dict[str, Any]:
    """Every setting of `scope` by dotted name: what was given, checked and typed, and defaults for the rest."""
    values = {name: setting.default for name, setting in SCOPES[scope].items()}
    for name, value in given.items():
        setting = find(scope, name)
        values[setting.name] = setting.parse(value)
    return values


def overrides(scope: Scope, given: Mapping[str, object]) -> dict[str, str]:
    """Only what was given, checked, as text by dotted name: how settings are stored and sent."""
    checked: dict[str, str] = {}
    for name, value in given.items():
        setting = find(scope, name)
        checked[setting.name] = as_text(setting.parse(value))
    return checked


def as_text(value: object) -> str:
    """A parsed value as it is written in files."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def effective(*layers: Mapping[str, str]) -> dict[str, str]:
    """Every topic setting as text: the defaults, overlaid by each layer in turn.

    Who has said how long or how much is kept is not surprised by a default of another kind: then retention.topic.bytes
    is -1 unless it was set, too.
    """
    values = {name: as_text(setting.default) for name, setting in TOPIC.items()}
    if any("retention.ms" in layer or "retention.bytes" in layer for layer in layers):
        values["retention.topic.bytes"] = "-1"
    for layer in layers:
        values.update(layer)
    return values


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """The settings of one topic, typed. Times in milliseconds, sizes in bytes; -1 means no limit."""

    cleanup_policy: tuple[str, ...]
    retention_ms: int
    retention_bytes: int
    retention_topic_bytes: int
    segment_bytes: int
    segment_ms: int
    max_message_bytes: int
    flush_messages: int
    flush_ms: int
    index_interval_bytes: int
    file_delete_delay_ms: int
    min_cleanable_dirty_ratio: float
    min_compaction_lag_ms: int
    max_compaction_lag_ms: int
    delete_retention_ms: int
    message_timestamp_type: str
    message_timestamp_before_max_ms: int
    message_timestamp_after_max_ms: int
    compression_type: str
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    replica_lag_time_max_ms: int
    min_insync_replicas: int
    unclean_leader_election_enable: bool
    ring_bytes: int
    """Resolved: never 0, and large enough for RING_BATCHES_MIN of the largest batches."""
    ring_bytes_at_first: int
    """What a ring begins with, and goes back to when nobody writes."""

    @property
    def deletes_some_day(self) -> bool:
        """Whether retention has any limit: no record stays for good."""
        has_limit = max(self.retention_ms, self.retention_bytes, self.retention_topic_bytes) >= 0
        return "delete" in self.cleanup_policy and has_limit

    @property
    def topic_cap_bytes(self) -> int:
        """What all partitions may have together, -1: anything. Only what may be deleted can be cut to size."""
        return self.retention_topic_bytes if "delete" in self.cleanup_policy else -1

    @property
    def is_compacted(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def stamps_log_append_time(self) -> bool:
        return self.message_timestamp_type == "LogAppendTime"

    @classmethod
    def from_mapping(cls, given: Mapping[str, object]) -> TopicConfig:
        """From settings by dotted or underscored name; what is missing has its default."""
        values = parse("topic", given)
        smallest = max(RING_BYTES_MIN, RING_BATCHES_MIN * values["max.message.bytes"])
        ring_bytes = values.pop("shm.ring.bytes")
        if ring_bytes and ring_bytes < smallest:
            raise InvalidConfigError(
                f"shm.ring.bytes must be 0 or at least {smallest} ({RING_BATCHES_MIN} x max.message.bytes),"
                f" not {ring_bytes}"
            )
        typed = {name.replace(".", "_"): value for name, value in values.items()}
        return cls(ring_bytes=ring_bytes or smallest, ring_bytes_at_first=ring_bytes or RING_BYTES_MIN, **typed)


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The settings of the cluster, typed; `topic_defaults` are overrides for all topics, as text."""

    num_partitions: int
    data_dir: str
    log_dirs: tuple[str, ...]
    default_replication_factor: int
    shm_budget_bytes: int
    shm_client_percent: int
    shm_mode: int
    shm_group: str
    log_retention_check_interval_ms: int
    offsets_topic_num_partitions: int
    offsets_topic_replication_factor: int
    offsets_topic_segment_bytes: int
    offsets_retention_minutes: int
    offset_metadata_max_bytes: int
    disk_reserve_bytes: int
    log_cleaner_enable: bool
    log_cleaner_backoff_ms: int
    log_cleaner_dedupe_buffer_size: int
    log_cleaner_io_max_bytes_per_second: int
    owner_unresponsive_ms: int
    supervisor_unresponsive_ms: int
    owner_restart_backoff_max_ms: int
    topic_defaults: dict[str, str]

    @classmethod
    def from_mapping(
        cls, given: Mapping[str, object], topic_defaults: Mapping[str, object] | None = None
    ) -> ClusterConfig:
        """From settings by dotted or underscored name; raises InvalidConfigError."""
        typed = {name.replace(".", "_"): value for name, value in parse("cluster", given).items()}
        defaults = overrides("topic", topic_defaults or {})
        TopicConfig.from_mapping(defaults)  # the combination must be possible, too
        return cls(topic_defaults=defaults, **typed)
