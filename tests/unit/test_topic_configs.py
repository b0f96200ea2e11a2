"""A topic's settings as users see them: the origin of each value, and changes that are checked before they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from shmlog import ConfigChange, ConfigOrigin, InvalidArgumentError, InvalidConfigError
from shmlog.client.topic_configs import alter_request, config_entries
from shmlog.control.messages import AlterTopic
from shmlog.setting_tables import TOPIC
from shmlog.settings import effective


def test_each_value_has_the_origin_that_it_comes_from() -> None:
    own, cluster = {"retention.ms": "5"}, {"retention.ms": "6", "segment.ms": "7"}
    entries = config_entries(own, cluster, effective(cluster, own))
    assert list(entries) == list(TOPIC)
    seen = {name: (entries[name].value, entries[name].origin.value, entries[name].fallback) for name in entries}
    assert seen["retention.ms"] == ("5", "topic", "6")
    assert seen["segment.ms"] == ("7", "cluster", "7")
    assert seen["cleanup.policy"] == ("delete", "default", "delete")


def test_origins_have_kafkas_names() -> None:
    assert [one.kafka_name for one in ConfigOrigin] == [
        "DYNAMIC_TOPIC_CONFIG",
        "STATIC_BROKER_CONFIG",
        "DEFAULT_CONFIG",
    ]


def test_changes_become_one_request() -> None:
    changes = [
        ConfigChange("set", "retention_ms", 5),
        ConfigChange("delete", "segment.ms"),
        ConfigChange("append", "cleanup.policy", ["compact"]),
    ]
    expected = AlterTopic(0, "t", {"retention.ms": "5"}, ["segment.ms"], None, {"cleanup.policy": "compact"}, {})
    assert alter_request("t", changes) == expected


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ("retention.ms=5", InvalidArgumentError, "each of changes must be a ConfigChange"),
        (ConfigChange("delete", "retention.ms", 5), InvalidArgumentError, "takes no value"),
        (ConfigChange("set", "retention.ms"), InvalidConfigError, "retention.ms must be an integer"),
        (ConfigChange("Set", "retention.ms", 5), InvalidArgumentError, "operation must be"),  # type: ignore[arg-type]  # that is tested
        (ConfigChange("set", "acks", 1), InvalidConfigError, "belongs to the producer"),
    ],
)
def test_a_wrong_change_is_refused_before_it_is_sent(change: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        alter_request("t", [change])


def test_a_setting_is_changed_once_at_a_time() -> None:
    with pytest.raises(InvalidConfigError, match="changed twice"):
        alter_request("t", [ConfigChange("set", "retention.ms", 5), ConfigChange("delete", "retention_ms")])
