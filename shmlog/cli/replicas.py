"""Replicas of partitions, as tables and JSON show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shmlog.client.results import PartitionInfo, TopicInfo


def in_sync(partition: PartitionInfo) -> str:
    """How many of a partition's replicas are in sync, of how many."""
    return f"{sum(one.in_sync for one in partition.replicas)} of {len(partition.replicas)}"


def replicas(topic: TopicInfo, ends: Mapping[object, object]) -> list[dict[str, object]]:
    """A row for each replica. `ends`: the high watermark of each partition that is known, for lags in records."""
    rows: list[dict[str, object]] = []
    for partition in topic.partitions:
        end = ends.get(partition.partition)
        for one in partition.replicas:
            behind = end - one.written_offset if isinstance(end, int) and one.written_offset >= 0 else None
            rows.append(
                {
                    "partition": partition.partition,
                    "replica": one.replica_id,
                    "role": "leader" if one.leads else "follower",
                    "state": one.state,
                    "pid": one.pid or None,
                    "in sync": "yes" if one.in_sync else "no",
                    "lag": None if one.leads or behind is None else max(0, behind),
                    "directory": one.log_dir,
                }
            )
    return rows


def under_min_isr(topics: Iterable[TopicInfo]) -> list[str]:
    """A sentence for each partition with too few replicas in sync (Kafka: UnderMinIsr)."""
    return [
        f"{topic.name}-{partition.partition} is under min ISR (UnderMinIsr): {in_sync(partition)} replicas are in"
        f" sync, and min.insync.replicas is {partition.min_insync_replicas}: nothing new is shown, or acknowledged to"
        " acks=all"
        for topic in topics
        for partition in topic.partitions
        if partition.under_min_isr
    ]


def out_of_sync(topics: Iterable[TopicInfo]) -> list[str]:
    """A sentence for each replica that the high watermark does not wait for."""
    return [
        f"{topic.name}-{partition.partition}: replica {one.replica_id} in {one.log_dir} is not in sync: "
        + (one.error or f"it is {one.state}")
        for topic in topics
        for partition in topic.partitions
        for one in partition.replicas
        if not one.in_sync
    ]
