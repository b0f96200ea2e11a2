"""The examples of README.md run as they stand: Python as programs of their own, the shell's as one session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SHELL_SESSION = re.search(r"^## From the shell\n+```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
NOT_FOR_A_TEST = ("shmlog top ", "shmlog doctor ")  # goes on until Ctrl-C; judges the machine
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_as_it_stands(number: int, tmp_path: Path) -> None:
    assert run(EXAMPLES[number], tmp_path)[1] == ""


def test_the_first_example_runs_a_second_time_over_its_own_data(tmp_path: Path) -> None:
    once, again = (run(EXAMPLES[0], tmp_path)[0].count("N14228") for _ in range(2))
    assert (once, again) == (1, 2)


def run(example: str, directory: Path) -> tuple[str, str]:
    """What it prints and complains about."""
    program = directory / "example.py"
    program.write_text(example)
    done = subprocess.run(
        [sys.executable, program.name], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_the_shell_session_runs_as_it_stands(tmp_path: Path) -> None:
    assert SHELL_SESSION
    lines = [line for line in SHELL_SESSION[1].splitlines() if not line.startswith(NOT_FOR_A_TEST)]
    assert "shmlog up --detach" in lines[0]
    assert lines[-1].startswith("shmlog down")
    script = "\n".join(["set -e -o pipefail", "trap 'shmlog down || true' EXIT", *lines[:-1], "trap - EXIT", lines[-1]])
    installed = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | installed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^[0-5] \d+ \d+$", done.stdout, re.MULTILINE)) == 3
