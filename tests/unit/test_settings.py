"""Settings: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog import kafka_settings, setting_tables, settings
from shmlog.control.config_file import load_config
from shmlog.errors import InvalidConfigError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.setting import LONG_MAX
from shmlog.settings import ClusterConfig, TopicConfig, parse


def test_dotted_and_underscored_names_are_the_same_setting() -> None:
    assert parse("topic", {"retention.ms": "5"}) == parse("topic", {"retention_ms": 5})


def test_every_default_lies_in_its_own_range_and_has_a_sentence() -> None:
    for table in setting_tables.SCOPES.values():
        for setting in table.values():
            if setting.kind not in ("serializer", "mode") and setting.default is not None:
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
        ("topic", "cleanup.policy", "compct", "cleanup.policy must be one or more of compact, delete, separated by"),
        ("topic", "cleanup.policy", "", "cleanup.policy must be one or more of compact, delete"),
        ("topic", "cleanup.policy", 7, "cleanup.policy must be one or more of compact, delete"),
        ("topic", "min.cleanable.dirty.ratio", "nan", "min.cleanable.dirty.ratio must be a number from 0 to 1"),
        ("topic", "min.cleanable.dirty.ratio", 1.1, "min.cleanable.dirty.ratio must be a number from 0 to 1"),
        ("producer", "compression_type", "lzo", "one of none, gzip, snappy, lz4, zstd"),
        ("topic", "compression_type", "none", "one of producer, uncompressed, gzip, snappy, lz4, zstd"),
        ("topic", "compression.zstd.level", 23, "an integer from -131072 to 22"),
        ("consumer", "heartbeat_interval_ms", 3, "not needed here: the kernel says when a member of a group is dead"),
        ("consumer", "isolation_level", "read_committed", "is Kafka's, and shmlog does not have transactions yet"),
        ("consumer", "partition_assignment_strategy", "stick", "one of range, roundrobin, sticky, cooperative-sticky"),
        ("producer", "bootstrap_servers", "h:1", "here it is the cluster's name: shmlog.connect(name)"),
        ("producer", "sasl_mechanism", "PLAIN", "not needed here: the permissions of files decide"),
        ("cluster", "log.retention.hours", 1, "here it is retention.ms in [topic-defaults]"),
        ("consumer", "linger_ms", 5, "'linger_ms' is no consumer setting: it belongs to the producer"),
        ("cluster", "retention.ms", 5, "'retention.ms' is no cluster setting: it belongs to a topic (config="),
        ("cluster", "retention.ms", 5, "or in [topic-defaults]"),
        ("cluster", "shm.mode", True, "file permissions in octal"),
        ("cluster", "shm.mode", 432.0, "file permissions in octal"),
        ("cluster", "shm.mode", 777, "file permissions in octal"),
        ("cluster", "log.dirs", 7, "log.dirs must be paths, separated by commas or as a list, not 7"),
        ("cluster", "log.dirs", ["/a", ""], "log.dirs must be paths"),
        ("cluster", "log.dirs", b"/a", "log.dirs must be paths"),
        ("cluster", "log.dir", "/a", "here it is log.dirs in [cluster]"),
        ("cluster", "default.replication.factor", 0, "default.replication.factor must be an integer from 1 to 16"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_range_or_the_nearest_name(
    scope: setting_tables.Scope, name: str, value: object, expected: str
) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse(scope, {name: value})
    assert expected in str(caught.value)


@pytest.mark.parametrize("given", ["660", 660, 0o660])
def test_permissions_may_be_written_with_and_without_quotes_and_as_an_octal_number(given: object) -> None:
    assert parse("cluster", {"shm.mode": given})["shm.mode"] == 0o660


def test_no_number_is_permissions_both_by_its_digits_and_as_it_stands() -> None:
    modes = [mode for mode in range(0o1000) if mode & ~0o666 == 0 and mode & 0o600 == 0o600]
    assert {parse("cluster", {"shm.mode": mode})["shm.mode"] for mode in modes} == set(modes)
    for mode in modes:
        assert parse("cluster", {"shm.mode": int(f"{mode:o}")})["shm.mode"] == mode


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ()),
        ("/disk1", ("/disk1",)),
        ("/disk1, /disk2/a b ,", ("/disk1", "/disk2/a b")),
        (["/disk1", "/with,comma"], ("/disk1", "/with,comma")),
        ([Path("/disk1"), "~/logs"], ("/disk1", "~/logs")),
        (Path("/disk1"), ("/disk1",)),
    ],
)
def test_log_dirs_are_text_with_commas_as_in_kafka_or_a_list(given: object, expected: tuple[str, ...]) -> None:
    assert parse("cluster", {"log.dirs": given})["log.dirs"] == expected


def test_log_dirs_are_a_list_in_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "shmlog.toml"
    for text in ('["/disk1", "/disk2"]', '"/disk1,/disk2"'):
        file.write_text(f"[cluster]\nlog.dirs = {text}\n")
        assert load_config(str(file)).log_dirs == ("/disk1", "/disk2")


KAFKAS: dict[setting_tables.Scope, str] = {
    "topic": """
        cleanup.policy compression.type compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages
        flush.ms follower.replication.throttled.replicas index.interval.bytes leader.replication.throttled.replicas
        local.retention.bytes local.retention.ms max.compaction.lag.ms max.message.bytes message.format.version
        message.downconversion.enable message.timestamp.after.max.ms message.timestamp.before.max.ms
        message.timestamp.type min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate
        remote.storage.enable retention.bytes retention.ms segment.bytes segment.index.bytes segment.jitter.ms
        segment.ms unclean.leader.election.enable
    """,
    "producer": """
        acks batch.size bootstrap.servers buffer.memory client.id compression.type connections.max.idle.ms
        delivery.timeout.ms enable.idempotence interceptor.classes key.serializer linger.ms max.block.ms
        max.in.flight.requests.per.connection max.request.size metadata.max.age.ms metric.reporters partitioner.class
        receive.buffer.bytes reconnect.backoff.max.ms request.timeout.ms retries retry.backoff.ms
        sasl.jaas.config security.protocol send.buffer.bytes ssl.truststore.location transaction.timeout.ms
        transactional.id value.serializer
    """,
    "consumer": """
        allow.auto.create.topics auto.commit.interval.ms auto.offset.reset bootstrap.servers check.crcs client.id
        client.rack enable.auto.commit exclude.internal.topics fetch.max.bytes fetch.max.wait.ms fetch.min.bytes
        group.id group.instance.id group.protocol heartbeat.interval.ms isolation.level key.deserializer
        max.partition.fetch.bytes max.poll.interval.ms max.poll.records partition.assignment.strategy
        session.timeout.ms value.deserializer
    """,
}


@pytest.mark.parametrize("scope", KAFKAS)
def test_every_setting_that_a_user_of_kafka_knows_is_ours_or_explained(scope: setting_tables.Scope) -> None:
    for name in KAFKAS[scope].split():
        assert name in setting_tables.SCOPES[scope] or kafka_settings.explanation(name), name


def test_no_setting_of_ours_is_explained_away() -> None:
    for table in setting_tables.SCOPES.values():
        assert [name for name in table if kafka_settings.explanation(name)] == []


def test_acks_all_is_minus_one_and_callables_are_serializers() -> None:
    assert [parse("producer", {"acks": given})["acks"] for given in ("all", -1, 0, "1")] == [-1, -1, 0, 1]
    assert parse("producer", {"value_serializer": str.encode})["value.serializer"] is str.encode


def test_a_ring_holds_four_of_the_largest_batches_unless_told_more() -> None:
    assert TopicConfig.from_mapping({"max.message.bytes": "2000000"}).ring_bytes == 8_000_000
    assert TopicConfig.from_mapping({"max.message.bytes": 2000}).ring_bytes == 512 * 1024
    with pytest.raises(InvalidConfigError, match="at least 8000000"):
        TopicConfig.from_mapping({"max.message.bytes": 2_000_000, "shm.ring.bytes": 600_000})


def test_cleanup_policies_are_the_same_however_they_are_written() -> None:
    for given in ("compact,delete", " delete , compact", ["delete", "compact"], ("compact", "delete", "compact")):
        assert parse("topic", {"cleanup.policy": given})["cleanup.policy"] == ("compact", "delete")
        assert settings.overrides("topic", {"cleanup.policy": given}) == {"cleanup.policy": "compact,delete"}


def test_effective_settings_are_defaults_overlaid_by_each_layer() -> None:
    found = settings.effective({"retention.ms": "1", "segment.ms": "2"}, {"retention.ms": "3"})
    assert (found["retention.ms"], found["segment.ms"], found["flush.ms"]) == ("3", "2", str(LONG_MAX))
    expected = {"retention.ms": 3, "segment.ms": 2, "retention.topic.bytes": -1}  # as nobody has set that one
    assert TopicConfig.from_mapping(found) == TopicConfig.from_mapping(expected)


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
        (b"num.partitions = 3\n", "num.partitions belongs into a table: write it below a line [cluster]"),
        (b"retention.ms = 3\n", "retention.ms belongs into a table: write it below a line [topic-defaults]"),
        (b"broker.id = 3\n", "'broker.id' is Kafka's, and not needed here"),
        (b"broker.idea = 3\n", "unknown table [broker]"),
        (b"partitions = 3\n", "unknown cluster setting 'partitions'"),
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
