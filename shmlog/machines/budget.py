"""The ledger of shared memory: what was granted to whom, and what may still be granted."""

from __future__ import annotations

from collections.abc import Mapping

from shmlog.errors import ShmBudgetExceededError


class BudgetMachine:
    """Regions by name with their sizes in bytes. A grant beyond `limit_bytes` is refused before anything is made, and
    one that gives a client more than `client_percent` of what partitions leave. Holders of several regions have names,
    and their totals are kept: a grant costs the same however much was granted before.
    """

    def __init__(self, limit_bytes: int, *, client_percent: int = 100) -> None:
        self.limit_bytes = limit_bytes
        self.client_percent = client_percent
        self._taken: dict[str, int] = {}
        self._holders: dict[str, str] = {}  # of regions
        self._held: dict[str, int] = {}  # by holders, in bytes
        self.used_bytes = 0

    def check(self, purpose: str, size_bytes: int) -> None:
        """Raise ShmBudgetExceededError, with the figures and the remedy, if `size_bytes` more is too much."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            raise ShmBudgetExceededError(
                f"{purpose} needs {size_bytes} bytes of shared memory; {self.used_bytes} of the cluster's"
                f" {self.limit_bytes} are taken: raise shm.budget.bytes (and the size of /dev/shm), lower"
                " max.message.bytes, or use fewer partitions and producers"
            )

    def check_share(self, purpose: str, size_bytes: int, *, holder: str, held_bytes: int, for_clients: int) -> None:
        """Raise ShmBudgetExceededError if `size_bytes` more is too much for `holder`, who holds `held_bytes` already.

        `for_clients` is what partitions leave: however much they take, no client gets the last byte for its lanes.
        """
        share = max(0, for_clients) * self.client_percent // 100
        if held_bytes + size_bytes > share:
            raise ShmBudgetExceededError(
                f"{purpose} needs {size_bytes} bytes of shared memory; {holder} holds {held_bytes} and may hold"
                f" {share}, {self.client_percent} % (shm.client.percent) of the {for_clients} that partitions leave of"
                f" the cluster's {self.limit_bytes}: close producers, lower lane.bytes or max.message.bytes, send to"
                " fewer partitions from one process, or raise shm.budget.bytes or shm.client.percent"
            )

    def take(self, name: str, size_bytes: int, holder: str = "") -> None:
        """Region `name` exists with this size now, and is held by `holder`; a second time replaces the first."""
        self.release(name)
        self._taken[name], self._holders[name] = size_bytes, holder
        self.used_bytes += size_bytes
        self._held[holder] = self.held_bytes(holder) + size_bytes

    def held_bytes(self, holder: str) -> int:
        """What the regions of one holder take together."""
        return self._held.get(holder, 0)

    def size_bytes(self, name: str) -> int:
        """The size that region `name` was taken with, 0 if it was not."""
        return self._taken.get(name, 0)

    def release(self, name: str) -> None:
        """Region `name` is gone; releasing what was not taken is fine."""
        size_bytes = self._taken.pop(name, None)
        if size_bytes is not None:
            holder = self._holders.pop(name)
            self.used_bytes -= size_bytes
            self._held[holder] = self.held_bytes(holder) - size_bytes
            if not self._held[holder]:
                del self._held[holder]

    def taken(self) -> Mapping[str, int]:
        """Regions and their sizes."""
        return dict(self._taken)
