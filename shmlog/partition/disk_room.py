"""What an owner does about the room that its log takes: orders to make some, and a disk that has none."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from shmlog.clock import wall_ms
from shmlog.control.messages import (
    ApplyRetention,
    DeleteBefore,
    FreeDisk,
    HoldRecords,
    LogSize,
    LogSizeOrder,
    Message,
    RecordsDeleted,
)
from shmlog.errors import DiskFullError, OffsetOutOfRangeError
from shmlog.limits import HOLD_LEASE_S
from shmlog.memory.control_page import ControlPage
from shmlog.native import publish
from shmlog.native.publish import Publisher
from shmlog.partition.full_disk import RETRIABLE_DISK_ERRORS, disk_refusal, errno_of_full_disk
from shmlog.partition.log_keeper import LogKeeper


class DiskRoom:
    """Of one partition. Owner's thread only; `report` sends to the supervisor."""

    def __init__(
        self,
        control: ControlPage,
        keeper: LogKeeper,
        publisher: Publisher,
        log_dir: str,
        report: Callable[[Message], object],
    ) -> None:
        self._control = control
        self._keeper = keeper
        self._publisher = publisher
        self._log_dir = log_dir
        self._report = report
        self._held = ""
        self._held_until_ns = 0

    def obey(self, order: LogSizeOrder) -> None:
        """Make room, or take no records, as the supervisor says. Without room even for that, the next one will do."""
        match order:
            case ApplyRetention():
                errno_of_full_disk(lambda: self._keeper.apply_retention(order.now_ms, order.size_limit_bytes))
                if order.size_limit_bytes < 0 and self._keeper.has_topic_cap:
                    self._report(LogSize(self._keeper.size_bytes()))
            case FreeDisk():
                errno_of_full_disk(lambda: self._keeper.delete_early(order.delete_below))
            case DeleteBefore():
                self._delete_records(order)
            case HoldRecords():
                self._held = order.reason
                self._held_until_ns = monotonic_ns() + int(HOLD_LEASE_S * 1e9)

    def run(self, publisher: Publisher, budget_ns: int, *, closes: bool) -> tuple[int, str]:
        """As Publisher.run, with why no records are taken, in a sentence; "" while they are.

        Whatever is in the ring is written and shown, and one that closes takes what was accepted: the reserve has room
        for that.
        """
        if self._held and monotonic_ns() >= self._held_until_ns:
            self._held = ""
        if not self._held or closes or publisher.written_pos != publisher.tail_pos:
            return publisher.run(budget_ns), ""
        self._keeper.beat()
        if self._control.high_watermark < publisher.tail_offset:
            self._keeper.settle()
        return publish.IDLE, self._held

    def _delete_records(self, order: DeleteBefore) -> None:
        """Let the log begin behind the records that somebody wants deleted, and answer."""
        try:
            start_offset = self._keeper.delete_before(order.offset, wall_ms())
        except OffsetOutOfRangeError as error:
            self._report(RecordsDeleted(order.order_id, -1, type(error).__name__, str(error)))
        except OSError as error:
            if error.errno not in RETRIABLE_DISK_ERRORS:
                raise
            refusal = f"the log in {self._log_dir} begins where it did: its new start could not be noted ({error})"
            self._report(RecordsDeleted(order.order_id, -1, DiskFullError.__name__, refusal))
        else:
            self._report(RecordsDeleted(order.order_id, start_offset))

    def refusal(self, code: int) -> str:
        """What to say of a write that ended with errno `code`; "" for 0. Raises StorageError if waiting does not help.

        The first thing to do about it is to let retention at the disk at once.
        """
        refusal = disk_refusal(code, self._log_dir, self._publisher.tail_pos - self._publisher.written_pos)
        if refusal:
            errno_of_full_disk(self._keeper.free_space)
        return refusal
