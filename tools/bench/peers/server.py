"""A peer's server: started in a directory of its own, never one that runs already, and stopped at the end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from shmlog.errors import ShmlogError
from shmlog.testing import wait_until

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
COMPLAINT_CHARACTERS_MAX = 500


class ServerFailedError(ShmlogError):
    """A peer's server ended, or did not get ready."""

    name = "SERVER_FAILED"


@contextlib.contextmanager
def running(command: Sequence[str], directory: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Run a server in the foreground until the block ends; its output goes to `directory`/server.log."""
    log = directory / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
    try:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: server.poll() is not None or is_ready(), timeout_s=READY_TIMEOUT_S)
        if server.poll() is not None or not is_ready():
            said = log.read_text(errors="replace").strip()[-COMPLAINT_CHARACTERS_MAX:]
            raise ServerFailedError(f"{Path(command[0]).name} did not start: {said or 'it said nothing'}")
        yield
    finally:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
