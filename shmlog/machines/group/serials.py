"""What a member may be reading, from what it was told and what it said: the coordinator's side of one connection.

    assigned    1: t-0 t-1    2: t-0    3: t-0 t-2
    said                      2: t-0                   it may have followed 3 by now: t-0 and t-2

Messages are under way in both directions, so nobody knows what the member reads this moment. But it reads nothing that
it has not said since, and that no assignment after the one that it followed has in it.
"""

from __future__ import annotations

from collections import deque

from shmlog.errors import InvalidRequestError
from shmlog.machines.group.records import Partitions


class Serials:
    """Counts the assignments of a connection from 1. `owned`: what the member said when it joined.

    An assignment counts from when it was decided, also while it waits until it may be sent; so assigned() comes with
    the step that has it, not with the sending.
    """

    def __init__(self, owned: Partitions) -> None:
        self._said = owned
        self._last = 0
        self._unacknowledged: deque[tuple[int, Partitions]] = deque()

    def assigned(self, partitions: Partitions) -> int:
        """The serial of this assignment."""
        self._last += 1
        self._unacknowledged.append((self._last, partitions))
        return self._last

    def owns(self, serial: int, owned: Partitions) -> Partitions:
        """The member has followed the assignment `serial` and reads `owned`; all that it may read by now."""
        if not 0 <= serial <= self._last:
            said = f"a member says that it has followed assignment {serial}"
            raise InvalidRequestError(f"{said}, and there were {self._last} on its connection")
        while self._unacknowledged and self._unacknowledged[0][0] <= serial:
            self._unacknowledged.popleft()
        return self.joins_again(owned)

    def joins_again(self, owned: Partitions) -> Partitions:
        """The member asks for something else on the same connection, and reads `owned`; all that it may read by now."""
        self._said = owned
        return self._said.union(*(partitions for _, partitions in self._unacknowledged))
