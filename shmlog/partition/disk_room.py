"""What an owner does about the room that its log takes: orders to make some, and a disk that has none."""

from __future__ import annotations

from collections.abc import Callable

from shmlog.control.messages import ApplyRetention, LogSize, Message
from shmlog.native.publish import Publisher
from shmlog.partition.full_disk import disk_refusal, errno_of_full_disk
from shmlog.partition.log_keeper import LogKeeper


class DiskRoom:
    """Of one partition. Owner's thread only; `report` sends to the supervisor."""

    def __init__(
        self, keeper: LogKeeper, publisher: Publisher, log_dir: str, report: Callable[[Message], object]
    ) -> None:
        self._keeper = keeper
        self._publisher = publisher
        self._log_dir = log_dir
        self._report = report

    def apply_retention(self, order: ApplyRetention) -> None:
        """On a disk that has no room for a new segment just now, the next round will do."""
        errno_of_full_disk(lambda: self._keeper.apply_retention(order.now_ms, order.size_limit_bytes))
        if order.size_limit_bytes < 0 and self._keeper.has_topic_cap:
            self._report(LogSize(self._keeper.size_bytes()))

    def refusal(self, code: int) -> str:
        """What to say of a write that ended with errno `code`; "" for 0. Raises StorageError if waiting does not help.

        The first thing to do about it is to let retention at the disk at once.
        """
        refusal = disk_refusal(code, self._log_dir, self._publisher.tail_pos - self._publisher.written_pos)
        if refusal:
            errno_of_full_disk(self._keeper.free_space)
        return refusal
