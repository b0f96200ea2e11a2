"""A disk that fails on order, and a wall clock that is set. Preloaded into a process (LD_PRELOAD) this module's file
wraps libc's calls that write files and that tell the time of day; imported it writes the orders. Both sides share one
page, a file named by the environment variable VARIABLE.

    orders = FaultOrders("/tmp/orders", directory="/tmp/data")
    environment = {"LD_PRELOAD": LIBRARY, VARIABLE: orders.path}  # of who is to suffer
    number = orders.arm(["pwrite"], "ENOSPC", place="/flights-0/", skip=3, count=10, seconds=2.0)
    ...
    failed = orders.disarm(number)

Only for interpreters: the module needs Python's symbols, so a program without them does not start with it preloaded.
"""

from collections.abc import Iterable
from typing import final

VARIABLE: str
"""Name of the environment variable that names the file of orders."""
LIBRARY: str
"""Path of the shared object to preload."""
CALLS: dict[str, int]
"""The calls that can fail; `open` only for writing. The 64-bit names of libc count as the plain ones."""

@final
class FaultOrders:
    """The page of orders, written by one process. It fails only calls on files below `directory`."""

    path: str

    def __init__(self, path: str, directory: str) -> None:
        """Make the file at `path`, or empty it, and map it. Raises OSError."""

    def arm(
        self,
        calls: Iterable[str],
        error: str | None,
        *,
        place: str = "",
        skip: int = 0,
        count: int = 1,
        seconds: float = 1.0,
    ) -> int:
        """Fail `count` matching calls after `skip` have passed, counted over all processes; returns the order's number.

        `error` is a name of errno; None makes writes short by half. `place` must occur in the path below the
        directory. After `seconds` the order has no effect any more, but stays armed until disarm(). Raises ValueError
        when 32 orders are armed.
        """

    def disarm(self, order: int) -> int:
        """End an order; returns how many calls it failed. A second call does nothing."""

    def hits(self, order: int) -> int:
        """How many calls it has failed so far."""

    def set_wall_clock(self, seconds: float) -> None:
        """Put the time of day (CLOCK_REALTIME) of who obeys this page `seconds` ahead, or behind: 0 puts it right."""
