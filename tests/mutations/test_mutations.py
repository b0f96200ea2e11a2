"""Every way to break the code that is on the list is noticed by the crash point that it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
NAMES = [
    line.split('"')[1]
    for entry in RUN.with_name("mutations.py").read_text().split("    Mutation(\n")[1:]
    for line in entry.splitlines()[:1]
]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_point_notices_that(name: str) -> None:
    done = subprocess.run([sys.executable, str(RUN), "--only", name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_mutation_still_finds_what_it_breaks() -> None:
    done = subprocess.run([sys.executable, str(RUN), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
