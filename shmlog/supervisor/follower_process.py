"""One follower process, and what is known of it."""

from __future__ import annotations

from shmlog.memory.replica_region import ReplicaRegion
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.worker import Worker

Key = tuple[int, int]  # partition id, replica id


class FollowerProcess(Worker):
    """One follower process."""

    def __init__(self, loop: Loop, key: Key, title: str) -> None:
        super().__init__(loop, title)
        self.key = key
        self.region: ReplicaRegion | None = None
        """Its replica region, mapped when it is ready; None as well if somebody has spoiled it."""
        self.waits_for = ""
        """Why it cannot go on now, as it says."""
