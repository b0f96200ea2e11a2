"""The tables of settings: of topics, of the cluster, of producers and of consumers, by their Kafka names."""

from __future__ import annotations

from typing import Final, Literal

from shmlog.limits import (
    FRAME_RECORDS_MAX,
    LANE_BYTES_MAX,
    MAX_MESSAGE_BYTES_DEFAULT,
    MAX_MESSAGE_BYTES_MAX,
    OPEN_BATCH_BYTES_MAX,
    PARTITIONS_PER_TOPIC_MAX,
    REPLICAS_PER_PARTITION_MAX,
    RING_BATCHES_MIN,
    RING_BYTES_MIN,
)
from shmlog.setting import INT_MAX, LONG_MAX, Setting

Scope = Literal["topic", "cluster", "producer", "consumer"]


def _table(*settings: Setting) -> dict[str, Setting]:
    return {setting.name: setting for setting in settings}


_LEVELS: Final = (
    Setting("compression.gzip.level", "int", -1, "Of gzip: 1, quick, to 9, small; -1: zlib's own choice, 6.", -1, 9),
    Setting(
        "compression.lz4.level", "int", 9, "Of LZ4: 9 is quick, any other number slow and small, most at 12.", 1, 17
    ),
    Setting(
        "compression.zstd.level", "int", 3, "Of Zstandard: below 0 quicker still, to 22, slow and small.", -131_072, 22
    ),
)
"""Of a topic, for what its compression.type says; of a producer, for its own."""

TOPIC: Final = _table(
    Setting(
        "cleanup.policy",
        "policies",
        ("delete",),
        "delete: old segments go, by age and size; compact: of each key the newest record stays; or both.",
        choices=("compact", "delete"),
    ),
    Setting("retention.ms", "int", 604_800_000, "Delete segments whose newest record is older; -1: never by age.", -1),
    Setting(
        "retention.bytes", "int", -1, "Delete the oldest segments of a partition beyond this size; -1: no cap.", -1
    ),
    Setting(
        "retention.topic.bytes",
        "int",
        68_719_476_736,
        "Delete the oldest segments of a topic whose partitions have more than this together; -1: no cap. The default"
        " holds only where neither topic nor cluster sets retention.ms or retention.bytes (Kafka has no such setting).",
        -1,
    ),
    Setting(
        "segment.bytes", "int", 1_073_741_824, "Begin a new segment file before one grows larger.", 1_048_576, INT_MAX
    ),
    Setting("segment.ms", "int", 604_800_000, "Begin a new segment file when one is older.", 1),
    Setting(
        "max.message.bytes",
        "int",
        MAX_MESSAGE_BYTES_DEFAULT,
        "The largest batch of records, before compression. Rings and lanes grow with it.",
        1024,
        MAX_MESSAGE_BYTES_MAX,
        takes_effect="for new producers",
    ),
    Setting(
        "flush.messages", "int", LONG_MAX, "Call fdatasync after this many records; 1: before every acknowledgement.", 1
    ),
    Setting("flush.ms", "int", LONG_MAX, "Call fdatasync when a written record has waited this long.", 0),
    Setting(
        "index.interval.bytes",
        "int",
        4096,
        "One index entry per this many bytes of log.",
        0,
        INT_MAX,
        takes_effect="with the next segment",
    ),
    Setting(
        "file.delete.delay.ms",
        "int",
        60_000,
        "How long files of deleted segments and topics stay, for readers that use them.",
        takes_effect="for what is deleted from then on",
    ),
    Setting(
        "min.cleanable.dirty.ratio", "ratio", 0.5, "Compact when this part of a log, by bytes, was not compacted yet."
    ),
    Setting("min.compaction.lag.ms", "int", 0, "Records stay uncompacted for at least this long."),
    Setting("max.compaction.lag.ms", "int", LONG_MAX, "Compact what is older, whatever the ratio.", 1),
    Setting("delete.retention.ms", "int", 86_400_000, "How long compaction keeps the deletion of a key, for readers."),
    Setting(
        "message.timestamp.type",
        "choice",
        "CreateTime",
        "CreateTime: what the producer said; LogAppendTime: when the owner appended the batch.",
        choices=("CreateTime", "LogAppendTime"),
    ),
    Setting("message.timestamp.before.max.ms", "int", LONG_MAX, "Refuse records with a timestamp further in the past."),
    Setting(
        "message.timestamp.after.max.ms", "int", 3_600_000, "Refuse records with a timestamp further in the future."
    ),
    Setting(
        "compression.type",
        "choice",
        "producer",
        "What the owner compresses batches with; producer: what each producer asks for.",
        choices=("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"),
    ),
    *_LEVELS,
    Setting(
        "replica.lag.time.max.ms",
        "int",
        1000,
        "A follower that is further behind is out of sync, one within half of it in again (Kafka: 30000, for brokers).",
        10,
        INT_MAX,
    ),
    Setting(
        "min.insync.replicas",
        "int",
        1,
        "While fewer replicas are in sync, nothing new is acknowledged to acks=all or shown; at most all are needed.",
        1,
        INT_MAX,
    ),
    Setting(
        "unclean.leader.election.enable",
        "bool",
        False,
        "Whether a replica that is not in sync may lead when no other can: what it lacks is lost.",
    ),
    Setting(
        "shm.ring.bytes",
        "int",
        0,
        f"Size of the shared-memory ring, at least {RING_BYTES_MIN} and {RING_BATCHES_MIN} x max.message.bytes;"
        f" 0: just that, beginning with {RING_BYTES_MIN} until a large batch or steady load needs it.",
        0,
        2**32,
        takes_effect="under load, or when idle",
    ),
)

CLUSTER: Final = _table(
    Setting(
        "num.partitions", "int", 1, "Partitions of a topic that does not say how many.", 1, PARTITIONS_PER_TOPIC_MAX
    ),
    Setting("data.dir", "text", "", "The data directory; empty: the documented default."),
    Setting("log.dirs", "paths", (), "Where partitions' logs go, one directory for each disk; empty: data.dir."),
    Setting(
        "default.replication.factor",
        "int",
        1,
        "Replicas of a topic that does not say how many.",
        1,
        REPLICAS_PER_PARTITION_MAX,
    ),
    Setting(
        "shm.budget.bytes",
        "int",
        0,
        "All shared memory that the cluster may take; 0: 90 % of what is free when it starts.",
    ),
    Setting(
        "shm.client.percent",
        "int",
        75,
        "What one client may take of the budget with its lanes, in percent of what partitions leave of it.",
        1,
        100,
    ),
    Setting("shm.mode", "mode", 0o600, "Permissions of shared memory and control socket; 660 lets shm.group in."),
    Setting("shm.group", "text", "", "The group that may use the cluster; empty: only its own user."),
    Setting(
        "log.retention.check.interval.ms", "int", 300_000, "How often retention looks for what may be deleted.", 100
    ),
    Setting("log.cleaner.enable", "bool", True, "Whether topics with cleanup.policy=compact are compacted."),
    Setting("log.cleaner.backoff.ms", "int", 15_000, "How often it is looked which logs are to be compacted.", 10),
    Setting(
        "log.cleaner.dedupe.buffer.size",
        "int",
        134_217_728,
        "Memory for the keys of one pass of compaction, 24 bytes each; with more keys there are several passes.",
        1_048_576,
        2**32,
    ),
    Setting(
        "log.cleaner.io.max.bytes.per.second",
        "int",
        104_857_600,
        "The most that compaction reads and writes per second (Kafka: no limit).",
        65_536,
    ),
    Setting(
        "offsets.topic.num.partitions",
        "int",
        1,
        "Partitions of __consumer_offsets, each with a coordinator of consumer groups in its owner (Kafka: 50).",
        1,
        PARTITIONS_PER_TOPIC_MAX,
        takes_effect="until the first group is used",
    ),
    Setting(
        "offsets.topic.replication.factor",
        "int",
        3,
        "Replicas of __consumer_offsets; no more than there are log directories, but as many as"
        " default.replication.factor.",
        1,
        REPLICAS_PER_PARTITION_MAX,
        takes_effect="until the first group is used",
    ),
    Setting(
        "offsets.topic.segment.bytes",
        "int",
        8_388_608,
        "segment.bytes of __consumer_offsets: a coordinator reads all of it when it starts (Kafka: 104857600).",
        1_048_576,
        INT_MAX,
        takes_effect="until the first group is used",
    ),
    Setting(
        "offsets.retention.minutes",
        "int",
        10_080,
        "How long committed offsets stay, from their commit, in a group that has no members.",
        1,
        INT_MAX,
    ),
    Setting("offset.metadata.max.bytes", "int", 4096, "The longest text beside a committed offset.", 0, INT_MAX),
    Setting(
        "disk.reserve.bytes",
        "int",
        0,
        "With less free on a disk, old segments go before their time, where retention would delete them anyway; if"
        " that is not enough, partitions there take no records until there is room. 0: a disk may be filled up.",
    ),
    Setting(
        "owner.unresponsive.ms",
        "int",
        30_000,
        "Replace an owner or a follower that has work, or is starting, and does nothing for this long; 0: never.",
    ),
    Setting(
        "supervisor.unresponsive.ms",
        "int",
        10_000,
        "A standby kills and replaces a supervisor that shows no sign of life for this long; 0: never.",
    ),
    Setting(
        "owner.restart.backoff.max.ms", "int", 10_000, "The longest pause between two restarts of a failing owner.", 100
    ),
)

PRODUCER: Final = _table(
    Setting("acks", "acks", -1, "all: written by every in-sync replica; 1: by the leader; 0: accepted in the lane."),
    Setting("linger.ms", "int", 0, "The owner may wait this long for more records before it takes a batch.", 0, 60_000),
    Setting("batch.size", "int", 16_384, "Batch size in bytes at which lingering ends.", 0, OPEN_BATCH_BYTES_MAX),
    Setting(
        "compression.type",
        "choice",
        "none",
        "What the owner compresses this producer's batches with, unless their topic says.",
        choices=("none", "gzip", "snappy", "lz4", "zstd"),
    ),
    *_LEVELS,
    Setting(
        "delivery.timeout.ms", "int", 120_000, "After this a send has failed, or its outcome is unknown.", 1, INT_MAX
    ),
    Setting("max.block.ms", "int", 60_000, "How long opening a lane or looking up a topic may take."),
    Setting("enable.idempotence", "bool", True, "Every record once: the owner drops repetitions and refuses gaps."),
    Setting(
        "lane.bytes",
        "int",
        0,
        "Size of a new lane of this producer; 0: 64 KiB. A full one grows to what max.message.bytes needs.",
        0,
        LANE_BYTES_MAX,
    ),
    Setting("partitioner", "partitioner", "murmur2", "Which partition a record without one goes to."),
    Setting("key.serializer", "serializer", None, "Turns keys into bytes; without one keys are bytes."),
    Setting("value.serializer", "serializer", None, "Turns values into bytes; without one values are bytes."),
)

CONSUMER: Final = _table(
    Setting(
        "auto.offset.reset",
        "choice",
        "earliest",
        "Where to begin without a position (Kafka's latest makes a newcomer's first program hang; with group.id that is"
        " the default here, too).",
        choices=("earliest", "latest", "none"),
    ),
    Setting("consumer.timeout.ms", "int", -1, "Iteration ends when nothing came for this long; -1: never.", -1),
    Setting("max.poll.records", "int", 500, "At most this many records per poll.", 1, FRAME_RECORDS_MAX),
    Setting("fetch.max.bytes", "int", 1_048_576, "At most about this many bytes are read ahead.", 1, INT_MAX),
    Setting("check.crcs", "bool", True, "Verify the checksum of every batch that is read."),
    Setting("key.deserializer", "serializer", None, "Turns bytes into keys; without one keys are bytes."),
    Setting("value.deserializer", "serializer", None, "Turns bytes into values; without one values are bytes."),
    Setting("group.id", "text", None, "The group that shares the partitions, and whose offsets are committed."),
    Setting(
        "group.instance.id",
        "text",
        None,
        "Makes a static member: whoever comes back under this name within session.timeout.ms has the same partitions.",
    ),
    Setting(
        "partition.assignment.strategy",
        "assignor",
        "cooperative-sticky",
        "How a group shares its partitions, the same for all its members; or a function, which one of them then calls."
        " Only partitions that move stop, whichever it is.",
        choices=("range", "roundrobin", "sticky", "cooperative-sticky", "uniform"),
    ),
    Setting("enable.auto.commit", "bool", True, "Commit what the application has finished with, as it goes on."),
    Setting(
        "auto.commit.interval.ms",
        "int",
        5_000,
        "How often, for who assigns partitions itself; a member of a group commits with every poll, in its own memory.",
        1,
        INT_MAX,
    ),
    Setting(
        "max.poll.interval.ms",
        "int",
        300_000,
        "A member that does not ask for records for longer loses its partitions to others.",
        1,
        INT_MAX,
    ),
    Setting(
        "session.timeout.ms",
        "int",
        45_000,
        "How long the partitions of a static member wait for its return; of others the kernel says when they are dead.",
        1,
        INT_MAX,
    ),
)

SCOPES: Final[dict[Scope, dict[str, Setting]]] = {
    "topic": TOPIC,
    "cluster": CLUSTER,
    "producer": PRODUCER,
    "consumer": CONSUMER,
}
