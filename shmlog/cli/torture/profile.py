"""What a torture is made of: clients, topics, and how often each fault happens. Defaults, and a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shmlog import settings
from shmlog.cli.torture.faults import KINDS
from shmlog.control.toml_file import dotted, read_toml
from shmlog.errors import InvalidConfigError
from shmlog.setting import INT_MAX, LONG_MAX
from shmlog.settings import did_you_mean

TOPIC_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
TABLES = ("faults", "cluster", "producer", "topics")
COMMON_TOPIC = {
    "retention.ms": "-1",
    "segment.bytes": "1048576",
    "max.message.bytes": "65536",
    "message.timestamp.after.max.ms": str(LONG_MAX),  # clocks go back by days, between acceptance and publication, too
}
NO_RETENTION = ("retention.ms", "retention.bytes")


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic: how many partitions, and its settings as text."""

    partitions: int
    config: Mapping[str, str]


def _default_topics() -> dict[str, TopicPlan]:
    return {
        "durable": TopicPlan(2, {**COMMON_TOPIC, "flush.messages": "1"}),
        "timed": TopicPlan(2, {**COMMON_TOPIC, "flush.ms": "50", "index.interval.bytes": "512"}),
        "plain": TopicPlan(2, COMMON_TOPIC),
    }


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that a seed and a number of seconds turn into a plan. Rates are per minute."""

    producers: int = 4
    consumers: int = 2
    members: int = 3
    records_per_second: int = 4000
    record_bytes_max: int = 6000
    replicas: int = 1
    standbys: int = 0
    recovery_seconds: float = 60.0
    faults: Mapping[str, float] = field(default_factory=lambda: {name: kind.per_minute for name, kind in KINDS.items()})
    cluster: Mapping[str, object] = field(
        default_factory=lambda: {
            "owner.unresponsive.ms": 1500,
            "owner.restart.backoff.max.ms": 1000,
            "offsets.retention.minutes": INT_MAX,  # clocks go forward by weeks
        }
    )
    producer: Mapping[str, object] = field(default_factory=dict)
    topics: Mapping[str, TopicPlan] = field(default_factory=_default_topics)

    @property
    def rates(self) -> dict[str, float]:
        """How often each fault is to happen: what needs a second replica, or a group, does not where there is none."""
        absent = {"follower", "logs"} if self.replicas == 1 else set()
        absent |= set() if self.members else {"member", "coordinator"}
        return {name: 0.0 if KINDS[name].victim in absent else rate for name, rate in self.faults.items()}


BOUNDS = {
    "producers": (1, 64, "processes that send; they take turns in acks all, all with linger.ms, 1 and 0"),
    "consumers": (1, 16, "processes that read everything; every second one is slow"),
    "members": (0, 16, "processes that share everything in one consumer group; they commit in turns sync, async, auto"),
    "records_per_second": (1, 1_000_000, "of all producers together"),
    "record_bytes_max": (8, 1 << 20, "the largest value; most have up to 200 bytes"),
    "replicas": (1, 4, "of every topic, each a process and a directory"),
    "standbys": (0, 4, "supervisors that wait: one of them takes over when kill_supervisor has its way"),
    "recovery_seconds": (1, 3600, "after everything was healed, all must be well within this time"),
}
"""The plain keys of a profile: least, most, and what they say."""


def load_profile(path: str | None) -> Profile:
    """The defaults, with what the TOML file at `path` says instead. Errors are InvalidConfigError and name the key."""
    if path is None:
        return Profile()
    given = read_toml(path, "profile")
    try:
        return profile_from(given)
    except InvalidConfigError as error:
        raise InvalidConfigError(f"{path}: {error}") from None


def profile_from(given: Mapping[str, Any]) -> Profile:
    """A profile from the tables of a TOML file."""
    profile = Profile()
    changes: dict[str, Any] = {}
    for key, value in given.items():
        if key in BOUNDS:
            changes[key] = _bounded(key, value, *BOUNDS[key][:2])
        elif key not in TABLES:
            raise InvalidConfigError(f"unknown key {key!r}" + did_you_mean(key, [*BOUNDS, *TABLES]))
        elif not isinstance(value, dict):
            raise InvalidConfigError(f"{key} must be a table: write [{key}] on a line of its own")
    if "faults" in given:
        changes["faults"] = {**profile.faults, **_rates(given["faults"])}
    for scope in ("cluster", "producer"):
        if scope in given:
            wanted = dict(dotted(given[scope]))
            settings.parse("cluster" if scope == "cluster" else "producer", wanted)
            changes[scope] = {**getattr(profile, scope), **wanted}
    if "topics" in given:
        changes["topics"] = {name: _topic(name, table) for name, table in given["topics"].items()}
    profile = replace(profile, **changes)
    for name, topic in profile.topics.items():
        limit = settings.TopicConfig.from_mapping(topic.config).max_message_bytes
        if profile.record_bytes_max > limit // 2:
            raise InvalidConfigError(
                f"record_bytes_max {profile.record_bytes_max} is more than half of max.message.bytes {limit} of topic"
                f" {name!r}: raise that, or make records smaller"
            )
    return profile


def _bounded(key: str, value: object, least: float, most: float) -> Any:
    kinds = (int, float) if key == "recovery_seconds" else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        raise InvalidConfigError(f"{key} must be a number from {least} to {most}, not {value!r}")
    return value


def _rates(table: Mapping[str, object]) -> dict[str, float]:
    rates = {}
    for name, rate in table.items():
        if name not in KINDS:
            raise InvalidConfigError(f"unknown fault {name!r}" + did_you_mean(name, KINDS))
        rates[name] = float(_bounded_rate(name, rate))
    return rates


def _bounded_rate(name: str, rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 6000:
        raise InvalidConfigError(f"{name} must be a rate per minute from 0 to 6000, not {rate!r}")
    return rate


def _topic(name: str, table: object) -> TopicPlan:
    if not TOPIC_NAME.fullmatch(name):
        raise InvalidConfigError(f"topic {name!r}: 1 to 24 of a-z 0-9 -, beginning with a letter")
    if not isinstance(table, dict):
        raise InvalidConfigError(f"topics.{name} must be a table: write [topics.{name}] on a line of its own")
    given = dict(dotted(table))
    partitions = _bounded(f"topics.{name}: partitions", given.pop("partitions", 1), 1, 64)
    for setting in NO_RETENTION:
        if setting in given and str(given[setting]) != "-1":
            raise InvalidConfigError(
                f"topics.{name}: {setting} must stay -1: what retention deletes, nobody could tell from what was lost"
            )
    return TopicPlan(partitions, {**COMMON_TOPIC, **settings.overrides("topic", given)})


def profile_text(profile: Profile) -> str:
    """The profile as the TOML file that means the same: what --print-profile prints."""
    lines = [f"{name} = {getattr(profile, name)}".ljust(26) + f"# {doc}" for name, (_, _, doc) in BOUNDS.items()]
    lines += ["", "[faults]  # per minute"]
    lines += [f"{name} = {profile.faults[name]:g}".ljust(26) + f"# {kind.doc}" for name, kind in KINDS.items()]
    for scope in ("cluster", "producer"):
        lines += ["", f"[{scope}]  # settings of the {scope}{'s' if scope == 'producer' else ''}"]
        lines += [f'"{name}" = {_toml(value)}' for name, value in getattr(profile, scope).items()]
    for name, topic in profile.topics.items():
        lines += ["", f"[topics.{name}]", f"partitions = {topic.partitions}"]
        lines += [f'"{setting}" = {value}' for setting, value in topic.config.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else f'"{value}"'
