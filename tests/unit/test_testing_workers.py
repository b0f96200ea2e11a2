"""Worker processes: what they say and what goes wrong in them reaches the parent, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from shmlog.testing.worker_process import WorkerFailedError, WorkerProcess

TIMEOUT_S = 30.0
ECHO = """
import sys
from shmlog.errors import ShmlogError
from shmlog.testing.worker_process import hear, say, serve

def work():
    say(ready=True)
    while (message := hear()) is not None:
        if "fail" in message:
            raise ShmlogError(message["fail"])
        if "crash" in message:
            raise ZeroDivisionError("a bug")
        say(heard=message)

sys.exit(serve(work))
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A worker that repeats what it hears; it has said that it is ready."""
    (tmp_path / "echo_worker.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = WorkerProcess("echo_worker", label="echo")
    assert worker.receive(TIMEOUT_S) == {"ready": True}
    return worker


def test_worker_and_parent_talk_and_the_worker_leaves_when_it_is_told_to(echo: WorkerProcess) -> None:
    with echo:
        echo.send(number=7, text="ü")
        assert echo.receive(TIMEOUT_S) == {"heard": {"number": 7, "text": "ü"}}
        assert echo.poll() is None
    assert echo.is_gone


def test_an_error_in_the_worker_is_raised_in_the_parent(echo: WorkerProcess) -> None:
    with echo:
        echo.send(fail="no room")
        with pytest.raises(WorkerFailedError, match=r"^echo: ShmlogError: no room$"):
            echo.receive(TIMEOUT_S)
    assert echo.is_gone


def test_a_bug_in_the_worker_is_raised_with_its_last_words(echo: WorkerProcess) -> None:
    with echo:
        echo.send(crash=True)
        with pytest.raises(WorkerFailedError, match="exited with 1: ZeroDivisionError: a bug"):
            echo.receive(TIMEOUT_S)


def test_a_killed_worker_is_named_with_its_signal(echo: WorkerProcess) -> None:
    with echo:
        os.kill(echo.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailedError, match=f"was killed by signal {signal.SIGKILL.value}"):
            echo.receive(TIMEOUT_S)


def test_a_silent_worker_is_a_timeout(echo: WorkerProcess) -> None:
    with pytest.raises(TimeoutError, match="said nothing for"), echo:
        echo.receive(0.01)


def test_a_worker_leaves_when_its_parent_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_worker.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = (
        "import signal; from shmlog.testing.worker_process import WorkerProcess\n"
        "w = WorkerProcess('echo_worker'); w.receive(30); print(w.pid, flush=True); signal.pause()"
    )
    with killed_afterwards(
        subprocess.Popen([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True)
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.communicate()
        wait_until(lambda: not runs(worker), timeout_s=TIMEOUT_S, what="the end of the worker")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
