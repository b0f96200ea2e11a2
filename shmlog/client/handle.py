"""What every object that a user holds has in common: it can be closed, and it does not survive fork().

A child that inherited a handle must neither write the parent's lanes nor read its socket, nor keep alive what only
the parent's death may end. So the child lets go of everything at once (abandon), and the handle says so when used.
"""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import NoReturn, Self, SupportsIndex

from shmlog.errors import ForkedHandleError, HandleClosedError, InvalidArgumentError


class Handle:
    """Base of clusters, producers, consumers and connections. `what` names it in errors."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._maker_pid = os.getpid()
        self._closed = False
        _handles.add(self)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def inherited(self) -> bool:
        """Whether this process got the handle by fork() and so cannot use it."""
        return os.getpid() != self._maker_pid

    def check_usable(self) -> None:
        """Raise HandleClosedError after close(), ForkedHandleError in a forked child."""
        if self.inherited:
            raise ForkedHandleError(
                f"this {self._what} was opened in process {self._maker_pid} before fork(); open a new one in the child:"
                " shmlog.connect(...), or start children with the `spawn` method"
            )
        if self._closed:
            raise HandleClosedError(f"this {self._what} is closed; open a new one")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Of pickle and copy, and so of multiprocessing."""
        raise InvalidArgumentError(
            f"this {self._what} cannot be pickled or copied, so not passed to another process: let that process open"
            " one of its own, with shmlog.connect(NAME), where NAME is the name of this cluster"
        )

    def abandon(self) -> None:
        """Called in a forked child: drop what was inherited without a word to anybody. Must not raise or block."""


class ClosableHandle(Handle):
    """Base of what users close themselves: close(), aclose(), or the end of a `with` or `async with` block."""

    def close(self) -> None:
        """Let go of everything; a second call does nothing. Each class says what that is."""

    async def aclose(self) -> None:
        """close(), for a task."""
        self.close()

    def __enter__(self) -> Self:
        self.check_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.check_usable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


def _abandon_inherited() -> None:
    for handle in list(_handles):
        handle.abandon()
    _handles.clear()


os.register_at_fork(after_in_child=_abandon_inherited)
