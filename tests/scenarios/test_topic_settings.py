"""Topics' settings over whole clusters: what the cluster sets for all, and caps over all partitions of a topic."""

from __future__ import annotations

from pathlib import Path

import pytest

import shmlog
from shmlog.testing import wait_until

TIMEOUT_S = 60.0
MIB = 1 << 20
SEGMENTS = {"segment.bytes": MIB, "max.message.bytes": 50_000}


def segments(directory: str) -> dict[str, int]:
    """Bytes by name, of those that are not deleted."""
    return {path.name: path.stat().st_size for path in Path(directory).glob("*.log")}


def test_a_topic_is_cut_to_its_cap_where_most_of_it_is_and_followers_follow(tmp_path: Path) -> None:
    disks = [str(tmp_path / "a"), str(tmp_path / "b")]
    with shmlog.start(tmp_path / "data", config={"log.dirs": disks, "log.retention.check.interval.ms": 300}) as cluster:
        config = {**SEGMENTS, "retention.topic.bytes": 4 * MIB}
        cluster.admin.create_topic("flights", partitions=2, replication_factor=2, config=config)
        with cluster.producer() as producer:
            for partition, count in ((0, 8), (1, 1)):
                producer.send_many("flights", [b"x" * 1000] * (count * MIB // 1000), partition=partition)
                producer.flush(TIMEOUT_S)
        large, small = cluster.admin.describe_topic("flights").partitions

        def is_cut() -> bool:
            return sum(segments(large.log_dir).values()) + sum(segments(small.log_dir).values()) < 5 * MIB

        wait_until(is_cut, timeout_s=TIMEOUT_S)
        assert sum(segments(large.log_dir).values()) > 2 * MIB
        assert "00000000000000000000.log" in segments(small.log_dir)
        with cluster.consumer("flights") as consumer:
            assert consumer.watermarks(shmlog.TopicPartition("flights", 1)).low == 0
            assert consumer.watermarks(shmlog.TopicPartition("flights", 0)).low > 0
        first, second = (one.log_dir for one in large.replicas)
        wait_until(lambda: segments(first) == segments(second), timeout_s=TIMEOUT_S)


def test_who_adds_partitions_is_warned_that_keys_move(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        assert cluster.admin.create_partitions("flights", 2).warning == ""
        grown = cluster.admin.create_partitions("flights", 3)
        assert len(grown.partitions) == 3
        assert "has 3 partitions now, after 2: new records of a key may go to another partition" in grown.warning
        assert cluster.admin.describe_topic("flights").warning == ""


def test_what_the_cluster_sets_for_all_topics_is_read_at_its_next_start(tmp_path: Path) -> None:
    file = tmp_path / "shmlog.toml"
    file.write_text('[topic-defaults]\nretention.ms = 1000\ncompression.type = "gzip"\n')
    with shmlog.start(tmp_path / "data", config=file) as cluster:
        cluster.admin.create_topic("flights", config={"compression.type": "uncompressed"})
        cluster.admin.create_topic("delays")
        assert cluster.admin.describe_configs("delays")["retention.ms"].origin is shmlog.ConfigOrigin.CLUSTER
    file.write_text('[topic-defaults]\nsegment.bytes = 1048576\ncompression.type = "uncompressed"\n')
    with shmlog.start(tmp_path / "data", config=file) as cluster:
        flights, delays = (cluster.admin.describe_configs(topic) for topic in ("flights", "delays"))
        assert (flights["compression.type"].value, flights["compression.type"].origin.value) == (
            "uncompressed",
            "topic",
        )
        assert (delays["segment.bytes"].value, delays["segment.bytes"].origin.value) == ("1048576", "cluster")
        assert (delays["retention.ms"].value, delays["retention.ms"].origin.value) == ("604800000", "default")
        with cluster.producer() as producer:  # and owners go by it
            producer.send_many("delays", [b"x" * 1000] * 2500)
            producer.flush(TIMEOUT_S)
        (partition,) = cluster.admin.describe_topic("delays").partitions
        assert len(segments(partition.log_dir)) == 3


def test_a_cluster_does_not_start_with_defaults_that_a_topic_cannot_have(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", config={"shm.ring.bytes": 5_000_000})
    with pytest.raises(shmlog.StartError, match=r"topic 'flights': shm.ring.bytes must be 0 or at least"):
        shmlog.start(tmp_path / "data", config={"max.message.bytes": 10_000_000})
    with shmlog.start(tmp_path / "data") as cluster:
        assert cluster.admin.list_topics() == ["flights"]
