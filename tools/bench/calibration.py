"""What this machine does right now, in this process tree: the measure that every other figure is to be held against."""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import posix_ipc

from shmlog.native.checksum import crc32c
from shmlog.testing.worker_process import WorkerProcess, serve

LOOP_TURNS = 1_000_000
COPY_CHUNK_BYTES = 256 * 1024
COPY_CHUNKS = 512
SOURCE_BYTES = 8 * 1024 * 1024  # as large as a hot ring
WAKE_ROUNDS = 2000
REPEATS = 5
SEMAPHORE_TIMEOUT_S = 10.0


def loop_ns() -> float:
    """Nanoseconds per turn of a bare Python loop with one builtin call; median of REPEATS."""
    items = [b"x"] * LOOP_TURNS

    def turn() -> None:
        for item in items:
            len(item)

    return statistics.median(_cpu_ns(turn) for _ in range(REPEATS)) / LOOP_TURNS


def copy_gbps(directory: Path) -> float:
    """GB/s of what a record's bytes must at least suffer: one memcpy, one CRC32C, one pwrite, on one core."""
    source = memoryview(secrets.token_bytes(SOURCE_BYTES))
    target = bytearray(COPY_CHUNK_BYTES)
    file = os.open(directory / "calibration", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

    def copy() -> None:
        for number in range(COPY_CHUNKS):
            at = number * COPY_CHUNK_BYTES % SOURCE_BYTES
            target[:] = source[at : at + COPY_CHUNK_BYTES]
            crc32c(target)
            os.pwrite(file, target, number * COPY_CHUNK_BYTES)

    try:
        best = []
        for _ in range(REPEATS):
            os.ftruncate(file, 0)
            best.append(_cpu_ns(copy))
        return COPY_CHUNKS * COPY_CHUNK_BYTES / statistics.median(best)
    finally:
        os.close(file)
        os.unlink(directory / "calibration")


def wake_us() -> float:
    """Microseconds of half a round trip between two sleeping processes, pinned to different cores if there are two.

    The primitive is a POSIX semaphore in shared memory, which is a bare futex.
    """
    name = f"/shmlog-calibration-{os.getpid()}"
    cores = sorted(os.sched_getaffinity(0))
    ping = posix_ipc.Semaphore(name + "-ping", posix_ipc.O_CREX)
    pong = posix_ipc.Semaphore(name + "-pong", posix_ipc.O_CREX)
    try:
        with WorkerProcess("shmlog.tools.bench.calibration", name, str(cores[-1])) as partner:
            partner.receive(SEMAPHORE_TIMEOUT_S)
            os.sched_setaffinity(0, {cores[0]})
            round_trips = [_round_trip_ns(ping, pong) for _ in range(WAKE_ROUNDS)]
        return statistics.median(round_trips) / 2000
    finally:
        os.sched_setaffinity(0, cores)
        for semaphore in (ping, pong):
            semaphore.unlink()
            semaphore.close()


def _round_trip_ns(ping: posix_ipc.Semaphore, pong: posix_ipc.Semaphore) -> int:
    began_ns = time.monotonic_ns()
    ping.release()
    pong.acquire(SEMAPHORE_TIMEOUT_S)
    return time.monotonic_ns() - began_ns


def _answer(name: str, core: int) -> None:
    """The partner: wakes whoever wakes it."""
    from shmlog.testing.worker_process import say

    ping, pong = posix_ipc.Semaphore(name + "-ping"), posix_ipc.Semaphore(name + "-pong")
    os.sched_setaffinity(0, {core})
    say(ready=True)
    for _ in range(WAKE_ROUNDS):
        ping.acquire(SEMAPHORE_TIMEOUT_S)
        pong.release()


def _cpu_ns(work: Callable[[], None]) -> int:
    began_ns = time.process_time_ns()
    work()
    return time.process_time_ns() - began_ns


if __name__ == "__main__":
    sys.exit(serve(lambda: _answer(sys.argv[1], int(sys.argv[2]))))
