"""The small values that calls answer with: what a delivery became, what topics and clusters look like."""

from __future__ import annotations

from dataclasses import dataclass, field

from shmlog.client.topic_configs import ConfigEntry, config_entries
from shmlog.control.messages import (
    ClusterDescribed,
    DamageDescription,
    DirectoryDescription,
    PartitionDescription,
    ReplicaDescription,
    TopicDescription,
)
from shmlog.machines.in_sync_count import InSyncCount


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """One copy of a partition, and the process that writes it.

    The leader is the partition's owner; its `state` and `pid` are the partition's. A follower is "following" when all
    is well, else "starting", "waiting" (for its next restart), "closing" or "stopped". `in_sync`: records become
    visible, and are acknowledged to producers with acks=all, only when this replica has them. `written_offset` is the
    end of a follower's copy, -1 while it has not said so, and for the leader. `error` says why it does not run, or does
    not go on.
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

    @classmethod
    def of(cls, description: ReplicaDescription) -> ReplicaInfo:
        """From the control message."""
        return cls(**{name: getattr(description, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition as the supervisor sees it.

    `state` is "running" when all is well, else "starting", "waiting" (for its next restart), "closing" or "offline".
    `pid` is the owner's, 0 while there is none. `log_dir` is an absolute path, in the log directory whose id is
    `directory_id`. `error` says why the partition does not run, as far as it is known. `replicas` are all copies of it,
    by replica id, the leader's among them; `min_insync_replicas` of them have to be in sync, or all.
    """

    partition: int
    partition_id: int
    leader_epoch: int
    state: str
    pid: int
    log_dir: str
    directory_id: str = ""
    error: str = ""
    replicas: tuple[ReplicaInfo, ...] = ()
    min_insync_replicas: int = 1

    @property
    def missing(self) -> list[ReplicaInfo]:
        """The replicas that are not in sync."""
        return [one for one in self.replicas if not one.in_sync]

    @property
    def under_min_isr(self) -> bool:
        """Whether fewer are in sync than are needed, so that nothing new is shown, or acknowledged to acks=all."""
        count = len(self.replicas)
        return InSyncCount.of(count, count - len(self.missing), self.min_insync_replicas).is_short

    @classmethod
    def of(cls, description: PartitionDescription, min_insync_replicas: int) -> PartitionInfo:
        """From the control message, and the setting of its topic."""
        return cls(
            partition=description.partition,
            partition_id=description.partition_id,
            leader_epoch=description.leader_epoch,
            state=description.state,
            pid=description.pid,
            log_dir=description.log_dir,
            directory_id=description.directory_id,
            error=description.error,
            replicas=tuple(ReplicaInfo.of(one) for one in description.replicas),
            min_insync_replicas=min_insync_replicas,
        )


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic. `config` is what was set for it, `cluster_config` what the cluster sets for topics that say nothing;
    `effective_config` every setting that applies, as text.

    `warning` says what is not as it should be with its replicas, or what adding partitions has changed; empty if
    nothing.
    """

    name: str
    topic_id: str
    internal: bool
    config: dict[str, str]
    effective_config: dict[str, str]
    partitions: tuple[PartitionInfo, ...]
    warning: str = ""
    cluster_config: dict[str, str] = field(default_factory=dict)

    @property
    def configs(self) -> dict[str, ConfigEntry]:
        """Every setting by name, with its value and where that comes from."""
        return config_entries(self.config, self.cluster_config, self.effective_config)

    @classmethod
    def of(cls, description: TopicDescription) -> TopicInfo:
        """From the control message."""
        min_insync_replicas = int(description.effective.get("min.insync.replicas", "1"))
        return cls(
            name=description.name,
            topic_id=description.topic_id,
            internal=description.internal,
            config=dict(description.config),
            effective_config=dict(description.effective),
            partitions=tuple(PartitionInfo.of(one, min_insync_replicas) for one in description.partitions),
            warning=description.warning,
            cluster_config=dict(description.cluster),
        )


@dataclass(frozen=True, slots=True)
class ImportInfo:
    """A topic that was imported, and how many records its archive had."""

    topic: TopicInfo
    records: int


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """One process that is connected; `lanes` is how many partitions it sends to."""

    client_id: int
    pid: int
    lanes: int


@dataclass(frozen=True, slots=True)
class DamageInfo:
    """What a recovery found damaged: offsets from `first_offset` up to, not including, `end_offset` are gone.

    They had reached the disk. `dropped_bytes` were cut off the log; `kept` are absolute paths of the files as they
    were: copies, or the segment itself where nothing was cut. `message` says it all, and what to remove once
    it was seen.
    """

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    dropped_bytes: int
    kept: tuple[str, ...]
    message: str

    @classmethod
    def of(cls, description: DamageDescription) -> DamageInfo:
        """From the control message."""
        return cls(
            topic=description.topic,
            partition=description.partition,
            first_offset=description.first_offset,
            end_offset=description.end_offset,
            dropped_bytes=description.dropped_bytes,
            kept=tuple(description.kept),
            message=description.message,
        )


@dataclass(frozen=True, slots=True)
class DirectoryInfo:
    """A log directory. `replicas` is how many logs are there, `free_bytes` what its disk has left, None while it is not
    known. `error` says why it cannot be used and what to do; empty while it can. `takes_new`: new logs may go there.
    `reserve_bytes` is disk.reserve.bytes; `refusal` says why logs there take no records; empty while they do.
    """

    path: str
    directory_id: str
    replicas: int
    free_bytes: int | None
    error: str
    takes_new: bool
    reserve_bytes: int = 0
    refusal: str = ""

    @classmethod
    def of(cls, description: DirectoryDescription) -> DirectoryInfo:
        """From the control message."""
        return cls(
            path=description.path,
            directory_id=description.directory_id,
            replicas=description.replicas,
            free_bytes=description.free_bytes,
            error=description.error,
            takes_new=description.takes_new,
            reserve_bytes=description.reserve_bytes,
            refusal=description.refusal,
        )


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A running cluster. `started_ms` is wall time; `owner_restarts` counts owners that were replaced since then.

    `shm_budget_bytes` is what the cluster may take of /dev/shm, `shm_used_bytes` what it has taken. `damage` is what
    recoveries have cut away, until somebody removes their notes. `directories` are where logs are, or go.
    """

    name: str
    cluster_id: str
    version: str
    pid: int
    zygote_pid: int
    started_ms: int
    data_dir: str
    runtime_dir: str
    shm_budget_bytes: int
    shm_used_bytes: int
    owner_restarts: int
    clients: tuple[ClientInfo, ...]
    damage: tuple[DamageInfo, ...]
    directories: tuple[DirectoryInfo, ...] = ()

    @classmethod
    def of(cls, described: ClusterDescribed) -> ClusterInfo:
        """From the control message."""
        return cls(
            name=described.cluster_name,
            cluster_id=described.cluster_id,
            version=described.version,
            pid=described.pid,
            zygote_pid=described.zygote_pid,
            started_ms=described.started_ms,
            data_dir=described.data_dir,
            runtime_dir=described.runtime_dir,
            shm_budget_bytes=described.shm_budget_bytes,
            shm_used_bytes=described.shm_used_bytes,
            owner_restarts=described.restarts,
            clients=tuple(ClientInfo(client.client_id, client.pid, client.lanes) for client in described.clients),
            damage=tuple(DamageInfo.of(found) for found in described.damage),
            directories=tuple(DirectoryInfo.of(one) for one in described.directories),
        )
