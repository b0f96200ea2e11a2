"""The ledger of shared memory: what was granted to whom, and what may still be granted."""

from __future__ import annotations

from collections.abc import Mapping

from shmlog.errors import ShmBudgetExceededError


class BudgetMachine:
    """Regions by name with their sizes in bytes. A grant beyond `limit_bytes` is refused before anything is made."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._taken: dict[str, int] = {}
        self.used_bytes = 0

    def check(self, purpose: str, size_bytes: int) -> None:
        """Raise ShmBudgetExceededError, with the figures and the remedy, if `size_bytes` more is too much."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            raise ShmBudgetExceededError(
                f"{purpose} needs {size_bytes} bytes of shared memory; {self.used_bytes} of the cluster's"
                f" {self.limit_bytes} are taken: raise shm.budget.bytes (and the size of /dev/shm), lower"
                " max.message.bytes, or use fewer partitions and producers"
            )

    def take(self, name: str, size_bytes: int) -> None:
        """Region `name` exists with this size now; a second time replaces the first."""
        self.used_bytes += size_bytes - self._taken.get(name, 0)
        self._taken[name] = size_bytes

    def size_bytes(self, name: str) -> int:
        """The size that region `name` was taken with, 0 if it was not."""
        return self._taken.get(name, 0)

    def release(self, name: str) -> None:
        """Region `name` is gone; releasing what was not taken is fine."""
        self.used_bytes -= self._taken.pop(name, 0)

    def taken(self) -> Mapping[str, int]:
        """Regions and their sizes."""
        return dict(self._taken)
