"""The stacks of owners, seen by py-spy from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from shmlog.client.results import TopicInfo
from shmlog.errors import ShmlogError, UnknownTopicOrPartitionError

OWNERS_MAX = 16
"""So many are looked at at once; each has a py-spy of its own."""
GRACE_S = 30.0
OWNER = "shmlog/partition/owner.py"
"""Where an owner begins; what leads there is the same in all of them, and left out."""
PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")

Stacks = Counter[tuple[str, ...]]
"""How often each stack was seen: the partition, then frames from the outermost to the innermost."""


class NoProfilerError(ShmlogError):
    """py-spy is not there, may not look, or failed."""

    name = "NO_PROFILER"


def owners_of(topics: Sequence[TopicInfo], partitions: Sequence[str]) -> dict[str, int]:
    """Partition name to pid, for these partitions or all. Raises for names that are not there, and for too many."""
    running = {f"{topic.name}-{one.partition}": one.pid for topic in topics for one in topic.partitions if one.pid}
    for name in partitions:
        if name not in running:
            raise UnknownTopicOrPartitionError(
                f"no owner of a partition {name!r} runs; partitions are written as orders-0: look with `shmlog status`"
            )
    chosen = {name: running[name] for name in partitions or running}
    if not chosen:
        raise UnknownTopicOrPartitionError("no owner runs: the cluster has no topics yet")
    if len(chosen) > OWNERS_MAX:
        raise NoProfilerError(
            f"these are {len(chosen)} owners, and {OWNERS_MAX} can be looked at at once: choose some with --partition"
        )
    return chosen


def look_at(owners: dict[str, int], *, seconds: int, rate: int) -> Stacks:
    """Look at these processes for so long, `rate` times per second. Raises NoProfilerError."""
    tool = _tool()
    found: Stacks = Counter()
    with ExitStack() as undo:
        directory = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="shmlog-flame-")))
        running: dict[str, subprocess.Popen[str]] = {}
        for name, pid in owners.items():
            running[name] = _start(tool, pid, directory / name, seconds, rate)
            undo.callback(_end, running[name])
        for name, process in running.items():
            _, said = process.communicate(timeout=seconds + GRACE_S)
            if process.returncode != 0:
                raise NoProfilerError(_explain(name, owners[name], said))
            file = directory / name
            if file.exists():
                found.update(_read(name, file.read_text(errors="replace")))
    return found


def folded_lines(stacks: Stacks) -> Iterator[str]:
    """One stack per line, frames separated by semicolons, then how often it was seen."""
    for stack, count in sorted(stacks.items()):
        yield f"{';'.join(stack)} {count}"


def _tool() -> str:
    """The py-spy of this environment, else of the PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")
    if found is None:
        raise NoProfilerError("py-spy, which looks at the owners, is not installed: pip install 'shmlog[profile]'")
    return found


def _start(tool: str, pid: int, file: Path, seconds: int, rate: int) -> subprocess.Popen[str]:
    options = ("--native", "--function", "--format", "raw", "--duration", str(seconds), "--rate", str(rate))
    return subprocess.Popen(
        [tool, "record", "--pid", str(pid), "--output", str(file), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C or an error: py-spy lets go of its process when it is interrupted."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _explain(name: str, pid: int, said: str) -> str:
    """What py-spy said, and what to do where it was not allowed to look."""
    words = " ".join(said.split())
    if "ermission" in words or "not permitted" in words:
        scope = PTRACE_SCOPE.read_text().strip() if PTRACE_SCOPE.exists() else "0"
        hint = (
            "run this as root, or allow it until the next boot: sudo sysctl kernel.yama.ptrace_scope=0"
            if scope != "0"
            else "run this as the user who started the cluster, or as root; a container needs --cap-add SYS_PTRACE"
        )
        return f"py-spy may not look at the owner of {name} (pid {pid}, ptrace_scope {scope}): {hint}"
    if not os.path.exists(f"/proc/{pid}"):
        return f"the owner of {name} (pid {pid}) ended meanwhile: try again"
    return f"py-spy could not look at the owner of {name} (pid {pid}): {words[-500:]}"


def _read(name: str, folded: str) -> Stacks:
    stacks: Stacks = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and count.isdigit():
            frames = stack.split(";")
            begin = next((k for k, frame in enumerate(frames) if OWNER in frame), 0)
            stacks[(name, *frames[begin:])] += int(count)
    return stacks
