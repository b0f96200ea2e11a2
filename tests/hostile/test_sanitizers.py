"""The compiled core under AddressSanitizer and UndefinedBehaviorSanitizer, driven by the tests that are hard on it.

A wrong access, or an operation that C leaves undefined, ends the child process with a report.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shmlog.testing.variant_build import build_sanitized, sanitized_environment

ROOT = Path(__file__).parents[2]
HOSTILE = ["tests/hostile/test_lanes.py", "tests/hostile/test_files.py", "tests/hostile/test_replica_regions.py"]
ALL_OF_THE_CORE = ["tests/hostile", "tests/unit"]
LEFT_OUT = [  # and why
    # meant to crash
    "--deselect=tests/unit/test_mapping.py::test_the_kernel_refuses_what_goes_around_a_read_only_mapping",
    # compares the whole of its process's memory page by page, and with that what the sanitizer forbids to touch
    "--ignore=tests/unit/test_inherited.py",
    # looks at the C library's allocator, in whose place the sanitizer puts its own
    "--ignore=tests/unit/test_freed_memory.py",
    # preloads a library, in front of which the sanitizer would have to come
    "--ignore=tests/unit/test_fault_shim.py",
]


def run_sanitized(program: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        directory = build_sanitized(ROOT)
    except subprocess.CalledProcessError as error:
        error.add_note(error.output)
        raise
    return subprocess.run(
        [sys.executable, "-P", *program],
        cwd=ROOT,
        env=sanitized_environment(directory, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def expect_no_report(tests: list[str], *more: str) -> None:
    ignored = f"--ignore={Path(__file__).relative_to(ROOT)}"
    done = run_sanitized(["-m", "pytest", "-q", "-p", "no:cacheprovider", ignored, *more, *tests])
    assert done.returncode == 0, done.stdout[-20_000:]


@pytest.mark.slow
def test_hostile_bytes_make_the_core_do_nothing_that_c_forbids() -> None:
    expect_no_report(HOSTILE)


@pytest.mark.long
def test_the_unit_tests_make_the_core_do_nothing_that_c_forbids(request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("hypothesis_seed") or "0"
    drawn = [f"--hypothesis-seed={seed}", f"--box-seconds={request.config.getoption('--box-seconds')}"]
    expect_no_report(ALL_OF_THE_CORE, "-m", "", *drawn, *LEFT_OUT)


@pytest.mark.slow
def test_the_child_runs_instrumented_modules_and_a_report_ends_it() -> None:
    """A check that cannot fail is worse than none."""
    program = """
import ctypes
from shmlog.native import publish
print(publish.__file__)
content = bytes(100)
ctypes.CDLL(None).memcpy(ctypes.create_string_buffer(300), content, 300)
"""
    done = run_sanitized(["-c", program])
    module = Path(done.stdout.splitlines()[0])
    assert b"__asan_report_load" in module.read_bytes()
    assert b"__ubsan_handle_pointer_overflow_abort" in module.read_bytes()
    assert "heap-buffer-overflow" in done.stdout
    assert done.returncode != 0
