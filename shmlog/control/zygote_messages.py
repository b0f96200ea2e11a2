"""What the supervisor says to the zygote, which forks its workers, and what that answers.

Everybody imports these from messages.py, which describes the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.worker_specs import FollowerSpec, OwnerSpec


@dataclass(frozen=True, slots=True)
class SpawnOwner:
    """Fork an owner. Carries one fd: the owner's end of its socket pair."""

    spec: OwnerSpec


@dataclass(frozen=True, slots=True)
class SpawnFollower:
    """Fork a follower. Carries one fd: the follower's end of its socket pair."""

    spec: FollowerSpec


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with Pong: it shows that the zygote lives and takes orders."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to Ping."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """Carries one fd: a pidfd of the new process. `start_time` in clock ticks since boot, for display.

    `replica_id`: the follower's, None for an owner.
    """

    partition_id: int
    replica_id: int | None
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The kernel refused another process; `message` says why (pids.max, memory). `replica_id` as in Spawned."""

    partition_id: int
    replica_id: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A child was reaped. `status` as os.waitstatus_to_exitcode: negative is the signal that killed it."""

    pid: int
    status: int


ZygoteMessage = SpawnOwner | SpawnFollower | Ping | Pong | Spawned | SpawnFailed | Exited
