"""The preloaded shim: calls below one directory fail when they are ordered to, so often, so long, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shmlog.native.fault_shim import CALLS, LIBRARY, VARIABLE, FaultOrders

PROGRAM = """
import os, sys

def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return os.strerror(error.errno)

def child(function):
    pid = os.fork()
    if pid == 0:
        function()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)

data = sys.argv[1]
a = os.open(f"{data}/a", os.O_RDWR | os.O_CREAT)
b = os.open(f"{data}/b", os.O_RDWR | os.O_CREAT)
elsewhere = os.open(os.path.dirname(data) + '/elsewhere', os.O_RDWR | os.O_CREAT)
exec(sys.argv[2])
"""


@pytest.fixture
def orders(tmp_path: Path) -> FaultOrders:
    (tmp_path / "data").mkdir()
    return FaultOrders(str(tmp_path / "orders"), str(tmp_path / "data"))


def run(orders: FaultOrders, tmp_path: Path, program: str) -> list[str]:
    environment = {**os.environ, "LD_PRELOAD": LIBRARY, VARIABLE: orders.path}
    done = subprocess.run(
        [sys.executable, "-P", "-u", "-c", PROGRAM, str(tmp_path / "data"), program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_nothing_fails_while_nothing_is_ordered(orders: FaultOrders, tmp_path: Path) -> None:
    assert run(orders, tmp_path, "print(attempt(os.pwrite, a, b'abcd', 0), attempt(os.fdatasync, a))") == ["4 None"]


def test_so_many_calls_pass_and_so_many_fail_also_across_a_fork(orders: FaultOrders, tmp_path: Path) -> None:
    number = orders.arm(["pwrite"], "ENOSPC", skip=1, count=2, seconds=60.0)
    once = "print(attempt(os.pwrite, a, b'abcd', 0))"
    full = "No space left on device"
    assert run(orders, tmp_path, f"{once}\nchild(lambda: {once})\n{once}\n{once}") == ["4", full, full, "4"]
    assert orders.hits(number) == orders.disarm(number) == 2


def test_only_the_place_that_was_named_and_nothing_outside_the_directory_suffers(
    orders: FaultOrders, tmp_path: Path
) -> None:
    orders.arm(["pwrite"], "EIO", place="b", count=100, seconds=60.0)
    program = "print(*[attempt(os.pwrite, fd, b'abcd', 0) for fd in (a, b, elsewhere)], sep=';')"
    assert run(orders, tmp_path, program) == ["4;Input/output error;4"]


def test_a_short_write_does_half_of_its_work(orders: FaultOrders, tmp_path: Path) -> None:
    orders.arm(["pwrite", "write"], None, count=2, seconds=60.0)
    program = "print(os.pwrite(a, b'abcdef', 0), os.write(b, b'abcd'), os.pwrite(a, b'abcdef', 0))"
    assert run(orders, tmp_path, program) == ["3 2 6"]
    assert (tmp_path / "data" / "b").read_bytes() == b"ab"


def test_an_order_has_no_effect_after_its_time_or_once_it_is_taken_back(orders: FaultOrders, tmp_path: Path) -> None:
    orders.arm(["pwrite"], "EIO", count=100, seconds=0.0)
    orders.disarm(orders.arm(["pwrite"], "EIO", count=100, seconds=60.0))
    assert run(orders, tmp_path, "print(attempt(os.pwrite, a, b'abcd', 0))") == ["4"]


ATTEMPTS = {
    "pwrite": "os.pwrite, a, b'x', 0",
    "write": "os.write, a, b'x'",
    "fdatasync": "os.fdatasync, a",
    "fsync": "os.fsync, a",
    "open": "os.open, data + '/c', os.O_WRONLY | os.O_CREAT",
    "rename": "os.rename, data + '/b', data + '/d'",
    "ftruncate": "os.ftruncate, a, 10",
    "posix_fallocate": "os.posix_fallocate, a, 0, 10",
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_can_fail_and_only_when_it_is_named(orders: FaultOrders, tmp_path: Path, call: str) -> None:
    others = orders.arm(CALLS.keys() - {call, "open"}, "EIO", count=100, seconds=60.0)
    once = f"print(attempt({ATTEMPTS[call]}))"
    assert run(orders, tmp_path, once) != ["Input/output error"]
    orders.disarm(others)
    orders.arm([call], "EIO", skip=2 if call == "open" else 0, seconds=60.0)  # the program itself opens two files
    failed, passed = run(orders, tmp_path, f"{once}\n{once}")
    assert failed == "Input/output error"
    assert passed != failed


def test_reading_never_fails(orders: FaultOrders, tmp_path: Path) -> None:
    orders.arm(CALLS, "EIO", place="read-only", count=100, seconds=60.0)
    (tmp_path / "data" / "read-only").write_bytes(b"abcd")
    program = "c = os.open(data + '/read-only', os.O_RDONLY)\nprint(os.pread(c, 4, 0))"
    assert run(orders, tmp_path, program) == ["b'abcd'"]


def test_a_process_without_orders_does_not_start(tmp_path: Path) -> None:
    for content in (None, b"\0" * 8192):
        if content is not None:
            (tmp_path / "orders").write_bytes(content)
        environment = {**os.environ, "LD_PRELOAD": LIBRARY, VARIABLE: str(tmp_path / "orders")}
        done = subprocess.run(
            [sys.executable, "-P", "-c", "print('started')"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "orders") in done.stderr


def test_only_so_many_orders_can_be_armed_and_none_with_a_name_that_does_not_fit(orders: FaultOrders) -> None:
    with pytest.raises(ValueError, match="more than 39 bytes"):
        orders.arm(["pwrite"], "EIO", place="x" * 40)
    numbers = [orders.arm(["pwrite"], "EIO") for _ in range(32)]
    with pytest.raises(ValueError, match="all 32 orders are armed"):
        orders.arm(["pwrite"], "EIO")
    orders.disarm(numbers[5])
    assert orders.arm(["pwrite"], "EIO") == numbers[5]
    with pytest.raises(ValueError, match="orders are 0 to 31"):
        orders.disarm(32)


def test_a_call_or_an_error_that_there_is_not_is_refused(orders: FaultOrders) -> None:
    with pytest.raises(KeyError):
        orders.arm(["pread"], "EIO")
    with pytest.raises(AttributeError):
        orders.arm(["pwrite"], "ENOSUCH")


TIMES = (
    "import ctypes, time\n"
    "libc = ctypes.CDLL(None)\n"
    "libc.time.restype = ctypes.c_long\n"
    "day = (ctypes.c_long * 2)()\n"
    "libc.gettimeofday(day, None)\n"
    "print(time.time_ns() // 10**9, libc.time(None), day[0], time.monotonic_ns() // 10**9)"
)


@pytest.mark.parametrize("ahead_s", [-86400, 0, 30 * 86400])
def test_a_wall_clock_that_is_set_is_so_for_who_obeys_and_no_other_clock_is(
    orders: FaultOrders, tmp_path: Path, ahead_s: int
) -> None:
    orders.set_wall_clock(ahead_s)
    before, monotonic = time.time(), time.monotonic()
    (line,) = run(orders, tmp_path, TIMES)
    after, monotonic_after = time.time(), time.monotonic()
    *days, still = map(int, line.split())
    for seconds in days:
        assert int(before) - 1 <= seconds - ahead_s <= after
    assert int(monotonic) <= still <= monotonic_after
