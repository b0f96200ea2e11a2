"""The kinds of faults, and how often each happens by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["kill", "stop", "disk", "clock"]
Victim = Literal[
    "owner",
    "follower",
    "producer",
    "consumer",
    "member",
    "coordinator",
    "supervisor",
    "zygote",
    "cluster",
    "everything",
    "partition",
    "metadata",
    "logs",
    "clock",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `seconds` is the range of its duration; `doc` one line for people.

    `calls`, `error` (None: short writes), and the ranges of `skip` and `count` are for a disk that misbehaves;
    `jump_s` is by how many seconds a clock is set.
    """

    group: Group
    victim: Victim
    per_minute: float
    doc: str
    seconds: tuple[float, float] = (0.0, 0.0)
    calls: tuple[str, ...] = ()
    error: str | None = None
    skip: tuple[int, int] = (0, 0)
    count: tuple[int, int] = (1, 1)
    jump_s: tuple[int, int] = (0, 0)


_FULL = 1_000_000
_DAY_S = 86400
_SYNCS = ("fdatasync", "fsync")
_WRITES = ("pwrite", "write", "open", "posix_fallocate")

KINDS: dict[str, Kind] = {
    "kill_owner": Kind("kill", "owner", 40, "SIGKILL of a partition's owner"),
    "kill_follower": Kind("kill", "follower", 20, "SIGKILL of a follower, with replicas = 2 or more"),
    "kill_producer": Kind("kill", "producer", 12, "SIGKILL of a producer, which is started again"),
    "kill_consumer": Kind("kill", "consumer", 8, "SIGKILL of a consumer, which goes on at its position"),
    "kill_member": Kind("kill", "member", 10, "SIGKILL of a member of the consumer group, which is started again"),
    "kill_coordinator": Kind("kill", "coordinator", 6, "SIGKILL of the consumer group's coordinator"),
    "kill_supervisor": Kind(
        "kill", "supervisor", 8, "SIGKILL of the supervisor; a standby takes over, or `shmlog up`", (0.0, 1.5)
    ),
    "kill_zygote": Kind("kill", "zygote", 6, "SIGKILL of the zygote"),
    "kill_everything": Kind("kill", "everything", 4, "SIGKILL of every process at once, then `shmlog up`", (0.0, 0.5)),
    "kill_cluster": Kind("kill", "cluster", 3, "SIGKILL of all but the clients, then `shmlog up`", (0.0, 1.0)),
    "restart_cluster": Kind("stop", "cluster", 4, "`shmlog down`, then `shmlog up`, under the clients", (0.0, 1.0)),
    "stop_owner": Kind("stop", "owner", 10, "SIGSTOP of an owner, SIGCONT later", (0.01, 1.0)),
    "hang_owner": Kind("stop", "owner", 3, "SIGSTOP of an owner until the supervisor kills it", (6.0, 8.0)),
    "stop_follower": Kind("stop", "follower", 10, "SIGSTOP of a follower, SIGCONT later", (0.05, 3.0)),
    "stop_producer": Kind("stop", "producer", 8, "SIGSTOP of a producer, SIGCONT later", (0.05, 3.0)),
    "stop_consumer": Kind("stop", "consumer", 8, "SIGSTOP of a consumer, SIGCONT later", (0.05, 3.0)),
    "stop_member": Kind("stop", "member", 10, "SIGSTOP of a member of the consumer group, SIGCONT later", (0.05, 3.0)),
    "stop_supervisor": Kind("stop", "supervisor", 4, "SIGSTOP of the supervisor, SIGCONT later", (0.05, 2.0)),
    "stop_zygote": Kind("stop", "zygote", 4, "SIGSTOP of the zygote, SIGCONT later", (0.05, 2.0)),
    "disk_full": Kind(
        "disk",
        "partition",
        8,
        "ENOSPC from every write to one partition",
        (0.1, 2.0),
        _WRITES,
        "ENOSPC",
        (0, 30),
        (_FULL, _FULL),
    ),
    "disk_error": Kind(
        "disk", "partition", 8, "EIO from some writes to one partition", (1.0, 3.0), ("pwrite",), "EIO", (0, 40), (1, 3)
    ),
    "sync_error": Kind("disk", "partition", 6, "EIO from one fdatasync or fsync", (2.0, 4.0), _SYNCS, "EIO", (0, 10)),
    "short_writes": Kind(
        "disk",
        "partition",
        10,
        "writes that do half of their work",
        (1.0, 3.0),
        ("pwrite", "write"),
        None,
        (0, 20),
        (1, 200),
    ),
    "rename_error": Kind(
        "disk", "partition", 4, "EIO from rename or ftruncate", (2.0, 4.0), ("rename", "ftruncate"), "EIO", (0, 2)
    ),
    "lose_logs": Kind(
        "disk", "logs", 1, "the directories of one replica of every partition vanish, with replicas = 2 or more"
    ),
    "metadata_full": Kind(
        "disk", "metadata", 2, "ENOSPC from the metadata log", (1.0, 3.0), _WRITES, "ENOSPC", (0, 3), (_FULL, _FULL)
    ),
    "metadata_error": Kind(
        "disk", "metadata", 2, "EIO from the metadata log", (2.0, 5.0), ("pwrite", *_SYNCS), "EIO", (0, 3), (1, 2)
    ),
    "clock_back": Kind(
        "clock", "clock", 4, "the time of day goes back, by up to thirty days, for good", jump_s=(-30 * _DAY_S, -1)
    ),
    "clock_forward": Kind(
        "clock", "clock", 4, "the time of day goes forward, by up to thirty days, for good", jump_s=(1, 30 * _DAY_S)
    ),
}
