"""A forked process that holds one object, does what it is told with it, and may be killed at any of its points."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from tests.crash.points.count import CountPage


class Killed(Exception):  # noqa: N818  (what happened is no error: it is what is tried)
    """The actor was killed at its point."""


class Actor:
    """The object that `make` makes lives in the child; `call` runs one of its methods there.

    With `armed` its making is counted already, otherwise counting begins with `arm`. What a method raises is raised
    here as AssertionError with the child's traceback. A kill raises Killed, and from the constructor too.
    """

    def __init__(self, make: Callable[[], object], page: CountPage, *, armed: bool = False) -> None:
        self.page = page
        self._pipe, end = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            _serve(make, page, end, armed)
        end.close()
        self.is_alive = True
        self._await_answer()

    def call(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._await_answer()

    def arm(self) -> None:
        self.call("arm")

    def kill(self) -> None:
        """Where it stands, between two orders."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _await_answer(self) -> Any:
        try:
            outcome, value = self._pipe.recv()
        except EOFError:
            status = self._reap()
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                raise Killed from None
            raise AssertionError(f"the process ended with status {status}") from None
        if outcome == "error":
            self.kill()
            raise AssertionError(value)
        return value

    def _reap(self) -> int:
        self.is_alive = False
        self._pipe.close()
        return os.waitpid(self.pid, 0)[1]


def _serve(make: Callable[[], object], page: CountPage, pipe: Connection, armed: bool) -> None:
    try:
        if armed:
            page.arm()
        target = make()
        pipe.send(("done", None))
        while True:
            method, arguments = pipe.recv()
            if method == "arm":
                page.arm()
                pipe.send(("done", None))
            else:
                pipe.send(("done", getattr(target, method)(*arguments)))
    except EOFError:
        pass  # whoever gave the orders is gone
    except BaseException:  # noqa: BLE001  (everything that goes wrong in the child is told to the parent)
        page.disarm()
        with contextlib.suppress(OSError):
            pipe.send(("error", traceback.format_exc()))
    finally:
        os._exit(0)
