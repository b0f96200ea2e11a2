"""What becomes of a topic's own settings when some are set, unset, appended to or subtracted from: Kafka's incremental
changes, and which combinations of values make no sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from shmlog.errors import InvalidConfigError
from shmlog.settings import TopicConfig, as_text, effective, find, overrides

BATCH_OVERHEAD_BYTES = 12
"""Of a batch: base offset and length. Kafka's default of max.message.bytes is 1 MiB and these."""


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """By dotted or underscored names; values as text or of the right type. `unset`: back to what the cluster says."""

    set: Mapping[str, object] = field(default_factory=dict)
    unset: Iterable[str] = ()
    append: Mapping[str, object] = field(default_factory=dict)
    subtract: Mapping[str, object] = field(default_factory=dict)


NO_CHANGE: Final = SettingsChange()


def altered_settings(own: Mapping[str, str], cluster: Mapping[str, str], change: SettingsChange) -> dict[str, str]:
    """The topic's own settings afterwards; `cluster` are those that hold for topics that say nothing.

    Lists are appended to and subtracted from as they apply now, wherever they come from. Raises InvalidConfigError for
    what no topic can have, for a setting that is changed twice, and for a combination that makes no sense and that the
    topic did not have before.
    """
    removed = [find("topic", name).name for name in change.unset]
    changed = overrides("topic", change.set)
    added, taken = overrides("topic", change.append), overrides("topic", change.subtract)
    for name, count in Counter(chain(changed, removed, added, taken)).items():
        if count > 1:
            raise InvalidConfigError(f"{name} is changed twice at once: say once what it is to be")
    after = {**own, **changed}
    for name in removed:
        after.pop(name, None)
    applies = effective(cluster, own)
    for name, parts in added.items():
        after[name] = _joined(name, [*_list(name, applies[name]), *_list(name, parts)])
    for name, parts in taken.items():
        gone = _list(name, parts)
        after[name] = _joined(name, [one for one in _list(name, applies[name]) if one not in gone])
    check_new_combination(applies, effective(cluster, after))
    return after


def _list(name: str, text: str) -> tuple[str, ...]:
    setting = find("topic", name)
    if not setting.is_list:
        raise InvalidConfigError(f"{name} is no list that values can be appended to or subtracted from: set it instead")
    value = setting.parse(text)
    assert isinstance(value, tuple)
    return value


def _joined(name: str, parts: list[str]) -> str:
    if not parts:
        raise InvalidConfigError(f"{name} would have nothing left: it must be {find('topic', name).allowed}")
    return as_text(find("topic", name).parse(parts))


def check_with_cluster(topics: Mapping[str, Mapping[str, str]], cluster: Mapping[str, str]) -> None:
    """Raise InvalidConfigError, naming the topic, if what the cluster sets now is impossible with a topic's own.

    `topics`: their own settings by name.
    """
    for name, own in topics.items():
        try:
            TopicConfig.from_mapping(effective(cluster, own))
        except InvalidConfigError as error:
            raise InvalidConfigError(
                f"[topic-defaults] does not go together with what is set for topic {name!r}: {error}. Change it back,"
                " alter the topic, and start again"
            ) from error


def check_new_combination(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise InvalidConfigError for settings (effective, as text) that do not go together, unless they were so before.

    What runs already goes on with them, whatever else is changed.
    """
    new = _conflicts(TopicConfig.from_mapping(after))
    if new:
        known = _conflicts(TopicConfig.from_mapping(before))
        for conflict in new:
            if conflict not in known:
                raise InvalidConfigError(conflict)


def _conflicts(config: TopicConfig) -> list[str]:
    found = []
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
        found.append(
            f"min.compaction.lag.ms ({config.min_compaction_lag_ms}) is larger than max.compaction.lag.ms"
            f" ({config.max_compaction_lag_ms}): records would have to be compacted before they may be"
        )
    if config.max_message_bytes > config.segment_bytes + BATCH_OVERHEAD_BYTES:
        found.append(
            f"max.message.bytes ({config.max_message_bytes}) is larger than segment.bytes ({config.segment_bytes}): a"
            " batch would not fit into a segment; raise segment.bytes, too"
        )
    return found
