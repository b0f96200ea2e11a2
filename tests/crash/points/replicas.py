"""The followers of a scenario's partition, which survive: they copy nothing, and say they have what was written."""

from __future__ import annotations

from collections.abc import Sequence

from shmlog.errors import CorruptRecordError
from shmlog.memory import names
from shmlog.memory.control_page import ControlPage
from shmlog.testing.fake_follower import FakeFollower

PARTITION_ID = 1


class Replicas:
    """`in_sync`: replica ids of those that a supervisor knows to be in sync; `copied`: what each has, by id."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._followers: dict[int, FakeFollower] = {}
        self.in_sync: list[int] = []
        self.copied: dict[int, int] = {}

    def start(self, replica_id: int, *, in_sync: bool = True) -> None:
        """A follower that has nothing yet."""
        self._followers[replica_id] = FakeFollower(self._tag, replica_id)
        self.copied[replica_id] = 0
        if in_sync:
            self.in_sync.append(replica_id)

    def start_again(self) -> None:
        """After a reboot, with the files that they had."""
        self._followers = {replica_id: FakeFollower(self._tag, replica_id) for replica_id in self._followers}

    def follow(self, leader_epoch: int) -> None:
        """All of them notice a leader, and have for it what they have."""
        for replica_id, follower in self._followers.items():
            offset = self.copied[replica_id]
            follower.follow(leader_epoch, offset, synced=offset)

    def copy(self, *replica_ids: int) -> None:
        """Copy (and sync) what the leader says that it has written; without any ids: all of them do."""
        try:
            page = ControlPage.open(self._tag, PARTITION_ID)
        except (FileNotFoundError, CorruptRecordError):
            return
        written = page.written_offset
        page.close()
        for replica_id in replica_ids or self._followers:
            self.copied[replica_id] = max(written, self.copied[replica_id])
            follower = self._followers[replica_id]
            follower.region.store_written(self.copied[replica_id])
            follower.has_synced(self.copied[replica_id])

    def count_in(self) -> list[int]:
        """The supervisor hears that all of them have caught up."""
        self.in_sync[:] = self._followers
        return self.in_sync

    def check_have(self, high_watermark: int, min_insync_replicas: int) -> None:
        """What consumers may read, all that are in sync have, and so many replicas in all, the leader among them."""
        having = 1 + sum(copied >= high_watermark for copied in self.copied.values())
        assert having >= min(min_insync_replicas, 1 + len(self.copied)), (
            f"records below {high_watermark} are shown, and {having} replicas have them"
        )
        for replica_id in self.in_sync:
            assert high_watermark <= self.copied[replica_id], (
                f"records below {high_watermark} are shown, replica {replica_id} has those below"
                f" {self.copied[replica_id]}"
            )

    def regions(self) -> Sequence[str]:
        return [names.replica(self._tag, PARTITION_ID, replica_id) for replica_id in self._followers]
