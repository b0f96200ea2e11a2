"""The keyword arguments of producers and consumers for type checkers and editors: what shmlog.settings knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

from shmlog.client.group_options import RebalanceCallback
from shmlog.client.serialization import DeserializerSetting, SerializerSetting
from shmlog.machines.group.assignor import Assignor

Partitioner = Callable[[str, bytes | None, int], int]
"""(topic, key as bytes, number of partitions) -> partition."""


class ProducerSettings(TypedDict, total=False):
    """Settings of a producer, with underscores for Kafka's dots.

    Meaning and defaults: `shmlog.setting_tables.PRODUCER`.
    """

    acks: Literal["all", 0, 1, -1, "0", "1", "-1"]
    linger_ms: int
    batch_size: int
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"]
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    delivery_timeout_ms: int
    max_block_ms: int
    enable_idempotence: bool
    lane_bytes: int
    partitioner: Literal["murmur2"] | Partitioner
    key_serializer: SerializerSetting
    value_serializer: SerializerSetting


class ConsumerSettings(TypedDict, total=False):
    """Settings of a consumer, with underscores for Kafka's dots.

    Meaning and defaults: `shmlog.setting_tables.CONSUMER`; of the callbacks `on_*`: Consumer.subscribe().
    """

    auto_offset_reset: Literal["earliest", "latest", "none"]
    consumer_timeout_ms: int
    max_poll_records: int
    fetch_max_bytes: int
    check_crcs: bool
    key_deserializer: DeserializerSetting
    value_deserializer: DeserializerSetting
    group_id: str | None
    group_instance_id: str | None
    partition_assignment_strategy: Literal["range", "roundrobin", "sticky", "cooperative-sticky", "uniform"] | Assignor
    enable_auto_commit: bool
    auto_commit_interval_ms: int
    max_poll_interval_ms: int
    session_timeout_ms: int
    on_assign: RebalanceCallback | None
    on_revoke: RebalanceCallback | None
    on_lost: RebalanceCallback | None
