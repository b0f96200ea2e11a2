"""Processes that take part in a test, a demo or a benchmark: this interpreter, exec'd (never forked), told what to do
by lines of JSON on its standard input and answering in lines of JSON on its standard output.

The parent's side is WorkerProcess; the module that it runs calls serve(). A worker whose parent is gone sees the end
of its input and leaves.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

import orjson

from shmlog.errors import ShmlogError

Message = dict[str, Any]

EXIT_GRACE_S = 5.0
COMPLAINT_CHARACTERS_MAX = 500
RECEIVE_BYTES = 1 << 16


class WorkerFailedError(ShmlogError):
    """A worker process reported an error, or died; the message carries what it said."""

    name = "WORKER_FAILED"


def _is_readable(fd: int, timeout_s: float) -> bool:
    """Before `timeout_s` has passed. With hundreds of workers a descriptor has a number that select() refuses."""
    waiter = select.poll()
    waiter.register(fd, select.POLLIN)
    return bool(waiter.poll(timeout_s * 1000))


class WorkerProcess:
    """One child process; owned by whoever started it, and killed when that block is left.

    It runs in a process group of its own, so that Ctrl-C in the terminal reaches only the parent.
    """

    def __init__(
        self, module: str, *arguments: str, label: str = "", environment: dict[str, str] | None = None
    ) -> None:
        self.label = label or module.rpartition(".")[2]
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        self._inbox = bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **environment} if environment else None,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def fileno(self) -> int:
        """For select: readable when the worker has said something, or is gone."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, **message: object) -> None:
        """Tell the worker something. Raises WorkerFailedError if it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(message) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def poll(self) -> Message | None:
        """What the worker said next, if it has; raises WorkerFailedError if that is an error or its end."""
        if b"\n" not in self._inbox and _is_readable(self.fileno(), 0.0):
            more = os.read(self.fileno(), RECEIVE_BYTES)
            if not more:
                raise self._failure()
            self._inbox += more
        line, newline, rest = self._inbox.partition(b"\n")
        if not newline:
            return None
        self._inbox = rest
        message: Message = orjson.loads(line)
        if "error" in message:
            raise WorkerFailedError(f"{self.label}: {message['error']}")
        return message

    def receive(self, timeout_s: float) -> Message:
        """Wait for what the worker says next. Raises TimeoutError, or as poll()."""
        deadline = time.monotonic() + timeout_s
        while (message := self.poll()) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"{self.label} (pid {self.pid}) said nothing for {timeout_s:g} s")
            _is_readable(self.fileno(), left_s)
        return message

    def finish(self, timeout_s: float = EXIT_GRACE_S) -> None:
        """Close the worker's input, which tells it to leave, and wait for it; kill it if it stays."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.stop()

    def stop(self) -> None:
        """Kill the worker if it still runs, and free what belongs to it. A second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._complaints):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _failure(self) -> WorkerFailedError:
        try:
            code = self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            return WorkerFailedError(f"{self.label} (pid {self.pid}) closed its output and does not exit")
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:COMPLAINT_CHARACTERS_MAX]}" if lines else ""
        how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        return WorkerFailedError(f"{self.label} (pid {self.pid}) {how}{said}")

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.stop()


class ParentGoneError(Exception):
    """The parent closed our input: there is nobody left to work for."""


def say(**message: object) -> None:
    """In a worker: tell the parent."""
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


def hear(timeout_s: float | None = None) -> Message | None:
    """In a worker: what the parent said next; None if it says nothing within `timeout_s` (None: wait for ever).

    Raises ParentGoneError when the parent closed our input.
    """
    if timeout_s is not None and not _is_readable(sys.stdin.buffer.fileno(), timeout_s):
        return None
    line = sys.stdin.buffer.raw.readline()  # type: ignore[union-attr]  # unbuffered: select tells the truth
    if not line:
        raise ParentGoneError
    message: Message = orjson.loads(line)
    return message


def serve(work: Callable[[], None]) -> int:
    """In a worker: run `work`, translate what goes wrong into one line for the parent, return the exit code."""
    try:
        work()
    except (ParentGoneError, BrokenPipeError, KeyboardInterrupt):
        return 1
    except (ShmlogError, OSError, TimeoutError, ValueError) as error:
        with contextlib.suppress(BrokenPipeError):
            say(error=f"{type(error).__name__}: {error}")
        return 1
    return 0
