"""What the supervisor says of topics, partitions, replicas and the cluster: parts of its replies."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplicaDescription:
    """One replica of a partition as the supervisor knows it.

    The leader's `state` and `pid` are the partition's. A follower is "starting", "following", "waiting" (for its next
    restart), "closing" or "stopped"; `written_offset` is the end of its copy, as it says itself, and -1 while it has
    said nothing, and for the leader. `error` says why it does not run, or does not go on.
    """

    replica_id: int
    leads: bool
    in_sync: bool
    state: str
    pid: int
    written_offset: int
    log_dir: str
    directory_id: str
    error: str


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """One partition as the supervisor knows it.

    `state` is one of supervision's words: "starting", "running", "waiting" (for its next restart), "closing",
    "offline". `pid` is 0 while no owner runs. `ctl` and `bell` are names of shared-memory regions; `log_dir` is an
    absolute path, in the log directory of that id. `error` says why the owner does not run, as far as it is known.
    """

    partition: int
    partition_id: int
    leader_epoch: int
    state: str
    pid: int
    ctl: str
    bell: str
    log_dir: str
    directory_id: str = ""
    error: str = ""
    replicas: list[ReplicaDescription] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """One topic. `config` holds what was set for this topic only; `effective` every setting that applies to it.

    `cluster` holds what the cluster sets for topics that say nothing. `warning` says what is not as it should be with
    its replicas.
    """

    name: str
    topic_id: str
    internal: bool
    config: dict[str, str]
    effective: dict[str, str]
    partitions: list[PartitionDescription]
    warning: str = ""
    cluster: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectoryDescription:
    """A log directory: how many replicas it has, and the room that its disk has for us, None while that is not known.

    `error` says why it cannot be used; empty while it can. `takes_new`: new replicas may go there. `reserve_bytes` is
    disk.reserve.bytes; `refusal` says why logs there take no records; empty while they do.
    """

    path: str
    directory_id: str
    replicas: int
    free_bytes: int | None
    error: str
    takes_new: bool
    reserve_bytes: int = 0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class ClientDescription:
    """One attached client process: its open lanes and the name of its client region."""

    client_id: int
    pid: int
    lanes: int
    region: str


@dataclass(frozen=True, slots=True)
class DamageDescription:
    """Offsets from `first_offset` up to, not including, `end_offset` that a recovery found damaged.

    `dropped_bytes` were cut away; `kept` are absolute paths of the files as they were: copies, or the segment itself
    where nothing was cut. `message` says it all in a sentence.
    """

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    dropped_bytes: int
    kept: list[str]
    message: str
