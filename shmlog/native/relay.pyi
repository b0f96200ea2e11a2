"""Rings of a doorbell, passed on to event loops: one native thread that sleeps for all of them."""

from shmlog.native.doorbell import Doorbell

class BellRelay:
    """A thread without Python that sleeps on `doorbell` while a loop is armed, and writes the eventfds of those loops.

    A place belongs to the loop that asked for it. Its task raises the doorbell's flag first, then arms the place, then
    looks once more, and then sleeps on its eventfd:

        relay.arm(place, doorbell.prepare())
        if not news(): ...sleep until the eventfd is readable, read it, look again...
        relay.disarm(place); doorbell.cancel()

    May be used by several threads. In a forked child there is no thread: everything there does nothing.
    """

    doorbell: Doorbell

    def __init__(self, doorbell: Doorbell, sleep_s: float) -> None:
        """Start the thread, parked; it looks around every `sleep_s` while it waits. OSError: no thread can be had."""

    def listen(self, fd: int) -> int:
        """A place for the eventfd `fd`. Raises InvalidRequestError when RELAY_LOOPS_MAX are taken."""

    def arm(self, place: int, ticket: int) -> None:
        """Write the eventfd at every ring after Doorbell.prepare() gave `ticket`."""

    def disarm(self, place: int) -> None:
        """Nobody of this loop waits any more."""

    def leave(self, place: int) -> None:
        """Give the place back: from now on its eventfd is not written, and may be closed."""

    def close(self) -> None:
        """End the thread and wait for it. A second call does nothing, and so do all others afterwards."""
