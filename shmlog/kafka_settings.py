"""Kafka's settings that shmlog does not have: which come later, which are called otherwise here, which nobody needs.

Who moves over from Kafka brings them along; "unknown setting" would leave open whether it was a typing error. This only
makes error messages.
"""

from __future__ import annotations

from typing import Final

_LATER: Final = {
    "replication": (
        "replica.fetch.", "replica.high.watermark.",
        "replica.selector.", "replica.socket.", "leader.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
    ),
    "transactions": ("transactional.id", "transaction.", "isolation.level"),
}  # fmt: skip
"""What is planned, and the names (with a dot at the end: beginnings of names) that come with it."""

_INSTEAD: Final = {
    "log.dir": "log.dirs in [cluster]",
    "log.retention.ms": "retention.ms in [topic-defaults]",
    "log.retention.minutes": "retention.ms in [topic-defaults]",
    "log.retention.hours": "retention.ms in [topic-defaults]",
    "log.retention.bytes": "retention.bytes in [topic-defaults]",
    "log.segment.bytes": "segment.bytes in [topic-defaults]",
    "log.segment.delete.delay.ms": "file.delete.delay.ms in [topic-defaults]",
    "log.roll.ms": "segment.ms in [topic-defaults]",
    "log.roll.hours": "segment.ms in [topic-defaults]",
    "log.index.interval.bytes": "index.interval.bytes in [topic-defaults]",
    "log.flush.interval.messages": "flush.messages in [topic-defaults]",
    "log.cleanup.policy": "cleanup.policy in [topic-defaults]",
    "log.message.timestamp.type": "message.timestamp.type in [topic-defaults]",
    "log.message.timestamp.before.max.ms": "message.timestamp.before.max.ms in [topic-defaults]",
    "log.message.timestamp.after.max.ms": "message.timestamp.after.max.ms in [topic-defaults]",
    "log.cleaner.min.cleanable.ratio": "min.cleanable.dirty.ratio in [topic-defaults]",
    "log.cleaner.min.compaction.lag.ms": "min.compaction.lag.ms in [topic-defaults]",
    "log.cleaner.max.compaction.lag.ms": "max.compaction.lag.ms in [topic-defaults]",
    "log.cleaner.delete.retention.ms": "delete.retention.ms in [topic-defaults]",
    "log.flush.interval.ms": "flush.ms in [topic-defaults]",
    "message.max.bytes": "max.message.bytes in [topic-defaults]",
    "max.request.size": "the topic's max.message.bytes",
    "max.partition.fetch.bytes": "fetch.max.bytes",
    "buffer.memory": "lane.bytes, for each partition",
    "partitioner.class": "partitioner",
    "request.timeout.ms": "delivery.timeout.ms for producers, timeout= of the call for others",
    "retries": "delivery.timeout.ms: until then nothing needs to be sent again",
    "bootstrap.servers": "the cluster's name: shmlog.connect(name)",
}

_NEEDLESS: Final = {
    "producers keep the order of records however many are on their way": ("max.in.flight.requests.per.connection",),
    "a consumer is woken by the record that it waits for": ("fetch.min.bytes", "fetch.max.wait.ms"),
    "the permissions of files decide who may use a cluster (shm.mode, shm.group)": (
        "security.", "sasl.", "ssl.", "authorizer.", "super.users",
    ),
    "clients and broker meet in shared memory and need no network": (
        "listeners", "advertised.", "listener.", "inter.broker.", "connections.", "reconnect.", "retry.", "socket.",
        "send.buffer.bytes", "receive.buffer.bytes", "client.dns.lookup", "num.network.threads", "num.io.threads",
        "client.rack", "broker.rack",
    ),
    "processes are known by their pids": ("client.id", "broker.id", "node.id"),
    "the supervisor tells clients what changes, and decides what Kafka's controller does": (
        "metadata.", "zookeeper.", "controller.", "process.roles", "auto.leader.rebalance.enable",
    ),
    "topics are created by cluster.admin.create_topic and `shmlog topic create` only": (
        "auto.create.topics.enable", "allow.auto.create.topics",
    ),
    "the kernel says when a member of a group is dead, and the coordinator moves partitions at once, one by one": (
        "group.protocol", "group.remote.assignor", "group.initial.", "group.min.", "group.max.", "group.consumer.",
        "group.coordinator.", "heartbeat.interval.ms",
    ),
    "a consumer reads the topics that it is given": ("exclude.internal.topics",),
    "files grow as they are written": ("preallocate", "segment.index.bytes", "segment.jitter.ms", "log.preallocate"),
    "everything stays on this host": ("remote.", "local.retention."),
    "cluster.metrics() and those of producer and consumer are always there": ("metric.", "metrics.", "enable.metrics."),
    "there are no older formats": ("message.format.version", "message.downconversion.enable"),
    "a callback or your own code does it": ("interceptor.classes",),
}  # fmt: skip
"""Why nobody needs them here, and their names as in _LATER."""


def explanation(name: str) -> str:
    """Why there is no setting `name` (dotted), as the end of a sentence about it; empty if Kafka has none either, or
    none that this table knows."""
    for what, names in _LATER.items():
        if _is_one_of(name, names):
            return f"is Kafka's, and shmlog does not have {what} yet"
    if name in _INSTEAD:
        return f"is Kafka's; here it is {_INSTEAD[name]}"
    for why, names in _NEEDLESS.items():
        if _is_one_of(name, names):
            return f"is Kafka's, and not needed here: {why}"
    return ""


def _is_one_of(name: str, names: tuple[str, ...]) -> bool:
    return any(name.startswith(known) if known.endswith(".") else name == known for known in names)
