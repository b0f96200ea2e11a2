"""How a sleeping process is woken: one futex word and one flag, in a region that both sides map."""

from shmlog.native.mapping import Mapping

class Doorbell:
    """The doorbell of one process, in its `bell` or `client` region; its owner sleeps on it, others ring it.

    A sleeper says so first, then looks once more for news, and only then sleeps:

        ticket = doorbell.prepare()
        if news(): doorbell.cancel()
        else: doorbell.wait(ticket, timeout_s)

    A waker stores its news first and then calls ring(). Threads of the sleeping process may share one object.
    """

    mapping: Mapping

    def __init__(self, mapping: Mapping) -> None: ...
    def prepare(self) -> int:
        """Announce sleep; returns the ticket for wait(). Every prepare() is followed by wait() or cancel()."""

    def wait(self, ticket: int, timeout_s: float) -> bool:
        """Sleep until somebody rings or the time is over; False: nobody rang. Signal handlers run (Ctrl-C raises)."""

    def cancel(self) -> None:
        """Take prepare() back: the second look found something."""

    def ring(self) -> bool:
        """Wake the sleeper if it sleeps; True if it did."""

    def close(self) -> None: ...
