"""Settings: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog import settings
from shmlog.control.config_file import load_config
from shmlog.errors import InvalidConfigError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.settings import ClusterConfig, TopicConfig, parse


def test_dotted_and_underscored_names_are_the_same_setting() -> None:
    assert parse("topic", {"retention.ms": "5"}) == parse("topic", {"retention_ms": 5})


def test_every_default_lies_in_its_own_range_and_has_a_sentence() -> None:
    for table in settings.SCOPES.values():
        for setting in table.values():
            if setting.kind not in ("serializer", "mode"):
                setting.parse(setting.default)
            assert setting.doc.endswith("."), setting.name
            assert setting.default is None or setting.allowed


@pytest.mark.parametrize(
    ("scope", "name", "value", "expected"),
    [
        ("topic", "retention.mss", 1, "did you mean 'retention.ms'"),
        (
            "topic",
            "max.message.bytes",
            5,
            f"max.message.bytes must be an integer from 1024 to {MAX_MESSAGE_BYTES_MAX}, not 5",
        ),
        ("topic", "segment.bytes", "many", "segment.bytes must be an integer from 1048576"),
        ("topic", "retention.ms", True, "retention.ms must be an integer"),
        ("producer", "acks", "2", "acks must be all, 0 or 1, not '2'"),
        ("producer", "enable_idempotence", "maybe", "enable.idempotence must be true or false"),
        ("consumer", "auto.offset.reset", "oldest", "one of earliest, latest, none"),
        ("cluster", "shm.mode", "777", "file permissions in octal"),
        ("producer", "key_serializer", "pickle", '"str", "json" or a callable'),
    ],
)
def test_a_wrong_setting_is_refused_with_its_range_or_the_nearest_name(
    scope: settings.Scope, name: str, value: object, expected: str
) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse(scope, {name: value})
    assert expected in str(caught.value)


def test_acks_all_is_minus_one_and_callables_are_serializers() -> None:
    assert [parse("producer", {"acks": given})["acks"] for given in ("all", -1, 0, "1")] == [-1, -1, 0, 1]
    assert parse("producer", {"value_serializer": str.encode})["value.serializer"] is str.encode


def test_a_ring_holds_four_of_the_largest_batches_unless_told_more() -> None:
    assert TopicConfig.from_mapping({"max.message.bytes": "2000000"}).ring_bytes == 8_000_000
    assert TopicConfig.from_mapping({"max.message.bytes": 2000}).ring_bytes == 512 * 1024
    with pytest.raises(InvalidConfigError, match="at least 8000000"):
        TopicConfig.from_mapping({"max.message.bytes": 2_000_000, "shm.ring.bytes": 600_000})


def test_effective_settings_are_defaults_overlaid_by_each_layer() -> None:
    found = settings.effective({"retention.ms": "1", "segment.ms": "2"}, {"retention.ms": "3"})
    assert (found["retention.ms"], found["segment.ms"], found["flush.ms"]) == ("3", "2", str(settings.LONG_MAX))
    assert TopicConfig.from_mapping(found) == TopicConfig.from_mapping({"retention.ms": 3, "segment.ms": 2})


def test_a_configuration_file_writes_settings_as_kafka_does(tmp_path: Path) -> None:
    file = tmp_path / "shmlog.toml"
    file.write_text('[cluster]\nnum.partitions = 6\n"shm.mode" = "660"\n[topic-defaults]\nretention.ms = 86_400_000\n')
    assert load_config(str(file)) == ClusterConfig.from_mapping(
        {"num.partitions": 6, "shm.mode": 0o660}, {"retention.ms": 86_400_000}
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[cluster]\nnum.partitions 6\n", "line 2, column 16"),
        (b"[cluster", "line 1, column 9"),
        (b"[cluster]\nx = '\xff'\n", "line 2, column 6: this is not UTF-8"),
        (b"[clutser]\n", "unknown table [clutser]: did you mean 'cluster'"),
        (b"cluster = 1\n", "must be a table"),
        (b"[cluster]\nnum.partition = 6\n", "unknown cluster setting 'num.partition': did you mean 'num.partitions'"),
        (b"[topic-defaults]\nretention.ms = -2\n", "retention.ms must be an integer from -1"),
    ],
)
def test_a_wrong_configuration_file_is_refused_naming_file_and_place(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(content)
    with pytest.raises(InvalidConfigError) as caught:
        load_config(str(file))
    assert str(file) in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"absent\.toml: No such file"):
        load_config(str(tmp_path / "absent.toml"))
