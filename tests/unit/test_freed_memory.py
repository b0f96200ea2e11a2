"""Reading large records does not give memory back to the kernel with every fetch, to take it again for the next."""

from __future__ import annotations

import subprocess
import sys

READ = """
import os, resource, sys
from shmlog.partition.freed_memory import keep_freed_memory

def fetch():  # what reading does: a chunk of 256 KiB, and four records out of it
    chunk = bytes(bytearray(262_144))
    return [chunk[number * 65_536 :][:65_536] for number in range(4)]

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):
    fetch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    fetch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_READ = 100 * 262_144 // 4096


def faults(argument: str) -> int:
    command = [sys.executable, "-P", "-c", READ, argument]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_that_was_freed_is_used_again_without_asking_the_kernel() -> None:
    assert faults("keep") < PAGES_READ // 20


def test_without_it_the_allocator_asks_the_kernel_for_every_fetch() -> None:
    """If this fails, the allocator has learned it, and freed_memory can go."""
    assert faults("leave") > PAGES_READ // 2
