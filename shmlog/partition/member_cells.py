"""The client regions of members' processes: their doorbells, their commit cells, and when they polled last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shmlog.control.group_messages import GroupOffset
from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import TopicIdPartition
from shmlog.memory import names
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.client_slot import member_token
from shmlog.model import TopicPartition
from shmlog.partition.group_topics import GroupTopics

NEW_CELL = -1
"""In the place of an offset that was seen: the cell is another one, and any offset in it is news."""


class MemberRegions:
    """Mapped once for each process, for as long as one of its members is here: also when the name is gone."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._regions: dict[int, ClientRegion] = {}
        self._users: Counter[int] = Counter()

    def open(self, client_id: int) -> ClientRegion | None:
        """None: the process is gone and its region with it, or it has spoiled it. Each open() wants its release()."""
        region = self._regions.get(client_id)
        if region is None:
            try:
                region = ClientRegion.open(names.client(self._tag, client_id))
            except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
                return None
            self._regions[client_id] = region
        self._users[client_id] += 1
        return region

    def release(self, client_id: int) -> None:
        self._users[client_id] -= 1
        if self._users[client_id] <= 0:
            del self._users[client_id]
            self._regions.pop(client_id).close()

    def close(self) -> None:
        for region in self._regions.values():
            region.close()
        self._regions.clear()
        self._users.clear()


class MemberCells:
    """What members have stored, as offsets that may be committed for them."""

    def __init__(self, machine: Groups, topics: GroupTopics) -> None:
        self._machine = machine
        self._topics = topics

    def news(self, group: str, member_id: str, region: ClientRegion, seen: dict[int, int]) -> list[GroupOffset]:
        """Cells of a member with another offset than `seen`, which is brought up to date. What is not the member's,
        or not in the log, is left out; so is what was not seen before and is less than what is committed: it was stored
        before that commit, which came by message, or by another member."""
        found = []
        for partition_id, cell in region.cells(member_token(group, member_id)).items():
            if seen.get(partition_id) == cell.offset:
                continue
            is_first, seen[partition_id] = partition_id not in seen, cell.offset
            named = self._topics.partition(partition_id)
            if named is None:
                continue
            committed = self._committed(group, named)
            if cell.offset == committed or (is_first and cell.offset < committed):
                continue
            end = self._topics.log_end_offset(*named)
            one = TopicIdPartition(self._topics.topic_id(named.topic) or "", named.partition)
            if one in self._machine.may_commit(group, member_id) and (end is None or cell.offset <= end):
                found.append(GroupOffset(named.topic, named.partition, cell.offset, cell.leader_epoch))
        return found

    def still_its(self, group: str, member_id: str, offsets: Collection[GroupOffset]) -> list[GroupOffset]:
        """Those of partitions that are the member's still, and of the topic that it read. It says final positions again
        until it knows that they were heard, also after others have these partitions; the rest counts all the same."""
        mine = self._machine.may_commit(group, member_id)
        now = {one.topic: self._topics.topic_id(one.topic) or "" for one in offsets}
        return [
            one for one in offsets if (now[one.topic], one.partition) in mine and one.topic_id in ("", now[one.topic])
        ]

    def _committed(self, group: str, partition: TopicPartition) -> int:
        """-1: nothing is, for the topic that there is now."""
        found = self._machine.offset(group, *partition)
        if found is None or found.topic_id not in ("", self._topics.topic_id(partition.topic)):
            return -1
        return found.offset
