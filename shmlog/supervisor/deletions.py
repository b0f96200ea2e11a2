"""Records that somebody wants deleted: orders to owners, who say where their logs begin then."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from time import monotonic_ns

from shmlog.control.messages import DeleteBefore, DeleteRecords, LogBegins, OwnerReady, RecordsDeleted
from shmlog.errors import InvalidRequestError, LeaderNotAvailableError
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owners


@dataclass(frozen=True, slots=True)
class _Deletion:
    partition_id: int
    order: DeleteBefore
    answer: Answer


class Deletions(OwnerWatcher):
    """An owner that dies before it has answered has a successor that is asked again: what was done once stays done."""

    def __init__(self, catalog: Catalog, owners: Owners) -> None:
        self._catalog = catalog
        self._owners = owners
        self._ids = count(monotonic_ns())  # no supervisor before this one has used them
        self._pending: dict[int, _Deletion] = {}
        owners.watchers.append(self)

    def delete(self, request: DeleteRecords, answer: Answer) -> None:
        """Raises UnknownTopicOrPartitionError, InvalidRequestError, LeaderNotAvailableError while there is no owner."""
        partition = self._catalog.machine.partition(request.topic, request.partition)
        name = f"{request.topic}-{request.partition}"
        if request.offset < -1:
            raise InvalidRequestError(
                f"records of {name} are deleted before an offset of 0 or more, or -1 for all, not {request.offset}"
            )
        owner = self._owners.running(partition.partition_id)
        if owner is None:
            raise LeaderNotAvailableError(
                f"partition {name} has no running owner, and nobody else may delete its records: try again, or look"
                " with `shmlog status`"
            )
        order = DeleteBefore(next(self._ids), request.offset)
        self._pending[order.order_id] = _Deletion(partition.partition_id, order, answer)
        self._owners.send(owner, order)

    def owner_ready(self, ready: OwnerReady) -> None:
        owner = self._owners.running(ready.partition_id)
        for deletion in self._of(ready.partition_id):
            if owner is not None:
                self._owners.send(owner, deletion.order)

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        if not isinstance(report, RecordsDeleted):
            return
        deletion = self._pending.pop(report.order_id, None)
        if deletion is None:
            return  # asked by a supervisor before this one
        if report.error:
            deletion.answer.fail_as(report.error, report.message)
        else:
            deletion.answer.give(LogBegins(deletion.answer.request_id, report.log_start_offset))

    def owner_failed(self, partition_id: int, error: str, message: str) -> None:
        self._give_up(partition_id, message)

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        self._give_up(partition_id, "it was closed")

    def _give_up(self, partition_id: int, reason: str) -> None:
        for deletion in self._of(partition_id):
            del self._pending[deletion.order.order_id]
            deletion.answer.fail(
                LeaderNotAvailableError(
                    f"whether records were deleted is not known, their owner is gone ({reason}): ask again"
                )
            )

    def _of(self, partition_id: int) -> list[_Deletion]:
        return [deletion for deletion in self._pending.values() if deletion.partition_id == partition_id]
