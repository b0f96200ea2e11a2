"""A topic's settings for its users: each value with its origin, and Kafka's four incremental changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from shmlog import arguments, settings
from shmlog.control.messages import AlterTopic
from shmlog.errors import InvalidArgumentError, InvalidConfigError
from shmlog.setting_tables import TOPIC
from shmlog.settings import as_text, find

Operation = Literal["set", "delete", "append", "subtract"]


class ConfigOrigin(Enum):
    """Where the value of a topic's setting comes from; the first one that says something counts."""

    TOPIC = "topic"
    """It was set for this topic."""
    CLUSTER = "cluster"
    """From [topic-defaults] of the cluster's configuration file."""
    DEFAULT = "default"
    """Nobody has set it."""

    @property
    def kafka_name(self) -> str:
        """What Kafka's tools call it."""
        return _KAFKA_NAMES[self]


_KAFKA_NAMES = {
    ConfigOrigin.TOPIC: "DYNAMIC_TOPIC_CONFIG",
    ConfigOrigin.CLUSTER: "STATIC_BROKER_CONFIG",
    ConfigOrigin.DEFAULT: "DEFAULT_CONFIG",
}


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One setting of one topic: its value, as text, and where that comes from. `fallback` is what it would be without
    the topic's own; `doc` says what the setting does, `takes_effect` when a change of it does."""

    name: str
    value: str
    origin: ConfigOrigin
    fallback: str
    doc: str
    takes_effect: str


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One change for alter_configs(): `operation` is "set", "delete", "append" or "subtract", `name` as in Kafka.

    "delete" takes back what was set for the topic, so that the cluster's value or the default applies, and has no
    `value`. "append" and "subtract" are for lists (cleanup.policy); their `value` is an element, several of them as a
    list, or text with commas.
    """

    operation: Operation
    name: str
    value: object = None


def config_entries(
    own: Mapping[str, str], cluster: Mapping[str, str], effective: Mapping[str, str]
) -> dict[str, ConfigEntry]:
    """Every topic setting by name; `own` and `cluster` are what the topic and the cluster set."""
    entries: dict[str, ConfigEntry] = {}
    for name, setting in TOPIC.items():
        origin = (
            ConfigOrigin.TOPIC if name in own else ConfigOrigin.CLUSTER if name in cluster else ConfigOrigin.DEFAULT
        )
        value = effective.get(name, "")
        others = {other: text for other, text in own.items() if other != name}
        fallback = value if name not in own else settings.effective(cluster, others)[name]
        entries[name] = ConfigEntry(name, value, origin, fallback, setting.doc, setting.takes_effect)
    return entries


def alter_request(topic: str, changes: Iterable[ConfigChange]) -> AlterTopic:
    """Checked as far as that can be done here. Raises InvalidConfigError and InvalidArgumentError."""
    request = AlterTopic(0, topic)
    valued: dict[str, dict[str, str]] = {"set": request.set, "append": request.append, "subtract": request.subtract}
    names = set[str]()
    for change in arguments.sequence(changes, "changes", "a list of ConfigChange"):
        if not isinstance(change, ConfigChange):
            raise arguments.refusal("each of changes", "a ConfigChange", change)
        setting = find("topic", arguments.text(change.name, "the name of a change"))
        if setting.name in names:
            raise InvalidConfigError(f"{setting.name} is changed twice at once: say once what it is to be")
        names.add(setting.name)
        if change.operation == "delete":
            if change.value is not None:
                raise InvalidArgumentError(f"to delete {setting.name} takes no value, not {change.value!r}")
            request.unset.append(setting.name)
        elif change.operation in valued:
            valued[change.operation][setting.name] = as_text(setting.parse(change.value))
        else:
            raise arguments.refusal("operation", '"set", "delete", "append" or "subtract"', change.operation)
    return request
