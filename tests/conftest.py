"""What every test gets without asking: a place of its own for clusters, and a look afterwards at what it left behind.

A test that leaves a process running or a region in /dev/shm fails, names it, and is cleaned up after, so that the
next test starts from nothing. With `--skips-fail` a skipped test fails unless tests/allowed_skips.txt names it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from shmlog.testing import wait_until

SHM = Path("/dev/shm")
REGION_PREFIX = "shmlog."
MARK = "SHMLOG_TEST"  # in the environment of every process that a test starts; its value is the test's own
CLEANUP_DEADLINE_S = 60.0
BOX_SECONDS = 60.0
SEEDS_MIN = 20  # in a box, however slow the machine is
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")

# No test asserts a maximum run time, and a failure prints what reproduces it.
hypothesis.settings.register_profile("shmlog", deadline=None, print_blob=True)
hypothesis.settings.load_profile("shmlog")


# --- a place of its own, and nothing left in it -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """A short path, because the path of a control socket has 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="shmlog-tests-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def boxed_seeds(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Iterator[int]:
    """Seeds for --box-seconds, from the one of the commit on. How many there were is in the report's properties."""

    def seeds() -> Iterator[int]:
        first = int(request.config.getoption("hypothesis_seed", None) or 0)
        deadline = time.monotonic() + request.config.getoption("--box-seconds")
        for number in itertools.count():
            if number >= SEEDS_MIN and time.monotonic() >= deadline:
                record_property("seeds", number)
                return
            yield first + number

    return seeds()


_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(session_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the test away from the user's own clusters; afterwards demand that its processes and regions are gone."""
    number = next(_numbers)
    mark = f"{os.getpid()}.{number}"
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(session_directory / f"r{number}"))
    monkeypatch.setenv("SHMLOG_DATA_DIR", str(session_directory / f"d{number}"))
    monkeypatch.delenv("SHMLOG_CLUSTER", raising=False)
    regions_before, processes_before = regions(), processes()

    yield

    def nothing_left() -> bool:
        return not leftover_processes(mark, processes_before) and not leftover_regions(regions_before)

    try:
        wait_until(nothing_left, timeout_s=CLEANUP_DEADLINE_S)
    except TimeoutError:
        complaint = clean_up(mark, processes_before, regions_before)
        pytest.fail(f"the test left behind, {CLEANUP_DEADLINE_S:g} s after its end: {complaint}", pytrace=False)


def regions() -> set[str]:
    return {name for name in os.listdir(SHM) if name.startswith(REGION_PREFIX)}


def processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def leftover_processes(mark: str, before: set[int]) -> dict[int, str]:
    """Command lines of living processes that carry the test's mark, or are our own children."""
    found: dict[int, str] = {}
    for pid in processes() - before:
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            marked = f"{MARK}={mark}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
            if state not in "ZX" and (marked or int(parent) == os.getpid()):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def leftover_regions(before: set[str]) -> set[str]:
    """New regions of this user that no living process has mapped; what is mapped belongs to a cluster that lives longer
    than this test. While somebody else runs clusters or tests, nobody can tell whose an unmapped region is: none then.
    """
    new = {name for name in regions() - before if belongs_to_this_user(SHM / name)}
    if not new or any(is_stranger(pid) for pid in processes() - {os.getpid(), os.getppid()}):
        return set()
    return new - {name for pid in processes() for name in mapped_regions(pid)}


def is_stranger(pid: int) -> bool:
    """A process of a cluster or of a test run that this test run did not start."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        is_shmlog = b"pytest" in arguments or any(argument.startswith(b"shmlog.workers.") for argument in arguments)
        return is_shmlog and f"{MARK}={os.getpid()}.".encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def belongs_to_this_user(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def mapped_regions(pid: int) -> set[str]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    prefix = f"{SHM}/{REGION_PREFIX}"
    return {line[line.index(prefix) + len(f"{SHM}/") :] for line in lines if prefix in line}


def clean_up(mark: str, processes_before: set[int], regions_before: set[str]) -> str:
    left = leftover_processes(mark, processes_before)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not leftover_processes(mark, processes_before), timeout_s=CLEANUP_DEADLINE_S)
    names = leftover_regions(regions_before)
    for name in names:
        (SHM / name).unlink(missing_ok=True)
    return "; ".join([*(f"process {pid} ({command.strip()})" for pid, command in left.items()), *sorted(names)])


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def pytest_configure() -> None:
    """A shell that starts this in the background has it ignore SIGINT, and whatever it starts: tests interrupt both."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- a skipped test is a failure --------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--box-seconds", type=float, default=BOX_SECONDS, help="how long a test of the long tier draws seeds"
    )
    parser.addoption("--skips-fail", action="store_true", help=f"a skip fails unless {ALLOWED_SKIPS.name} names it")


def is_allowed_skip(test: str) -> bool:
    lines = [line for line in ALLOWED_SKIPS.read_text().splitlines() if line and not line.startswith("#")]
    patterns = (re.escape(line.partition(": ")[0]).replace(r"\*", ".*") for line in lines)
    return any(re.fullmatch(pattern, test) for pattern in patterns)


def forbid_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    is_skip = report.outcome == "skipped" and not hasattr(report, "wasxfail")
    if is_skip and config.getoption("--skips-fail") and not is_allowed_skip(report.nodeid):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped and is not listed in {ALLOWED_SKIPS.name}: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    forbid_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    forbid_skip(report, collector.config)
    return report
