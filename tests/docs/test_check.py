"""The check fails when it should: a contract that is broken in a copy of the tree is found there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/check.py", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and pyproject.toml, to be spoilt."""
    for folder in ("shmlog", "workers", "tools"):
        generated = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=generated)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"\n{line}\n")


def test_an_unknown_step_is_refused_with_the_names_of_all() -> None:
    done = check(ROOT, "lints")
    assert done.returncode == 2
    assert "there is no step lints; there are format, lint, types, imports, tests, docs" in done.stderr


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ("shmlog/machines/step.py", "import time", "shmlog.machines is not allowed to import time"),
        ("shmlog/errors.py", "import os", "shmlog.machines is not allowed to import os"),
        ("shmlog/log/__init__.py", "import shmlog.memory", "shmlog.log is not allowed to import shmlog.memory"),
        (
            "shmlog/native/ring.pyx",
            "from shmlog.record cimport something",
            "shmlog.native is not allowed to import shmlog.record",
        ),
        ("shmlog/cli/__init__.py", "import shmlog.tools", "shmlog.cli is not allowed to import shmlog.tools"),
    ],
    ids=["machines with a clock", "machines with IO by others", "siblings", "in Cython", "the top"],
)
def test_a_broken_contract_is_found(copy: Path, path: str, line: str, found: str) -> None:
    append(copy / path, line)
    done = check(copy, "imports")
    assert done.returncode == 1
    assert found in done.stdout


def test_a_package_without_a_layer_is_found(copy: Path) -> None:
    (copy / "shmlog" / "fresh").mkdir()
    append(copy / "shmlog" / "fresh" / "__init__.py", '"""New."""')
    done = check(copy, "imports")
    assert done.returncode == 1
    assert "shmlog.fresh" in done.stdout


def test_tests_of_an_installation_that_is_not_this_checkouts_are_refused(copy: Path) -> None:
    append(copy / "shmlog" / "limits.py", "CHANGED = True")
    (copy / "tests" / "docs").mkdir(parents=True)
    done = check(copy, "docs")
    assert done.returncode == 1
    assert "is not this checkout's" in done.stdout
