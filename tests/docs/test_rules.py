"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("shmlog", "workers", "tools", "tests")
LINES_MAX = 400
NO_NAMES = {"utils", "util", "helpers", "common", "manager", "misc"}

SOURCES = sorted(
    path
    for folder in FOLDERS
    for pattern in ("*.py", "*.pyx", "*.pyi", "*.pxd", "*.h")
    for path in (ROOT / folder).rglob(pattern)
    if "__pycache__" not in path.parts
)
PYTHON_SOURCES = [path for path in SOURCES if path.suffix == ".py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_sources_are_found_at_all() -> None:
    assert len(PYTHON_SOURCES) > 100


def test_no_file_is_longer_than_a_reader_likes() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_every_file_is_named_after_what_it_is() -> None:
    assert [name(path) for path in SOURCES if path.stem in NO_NAMES or path.parent.name in NO_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name(path) for path in PYTHON_SOURCES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def calls_of_sleep(path: Path) -> list[int]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    sleeps = [call for call in calls if re.fullmatch(r"((time|asyncio)\.)?sleep", ast.unparse(call.func))]
    return [call.lineno for call in sleeps if ast.unparse(call) != "asyncio.sleep(0)"]  # a turn for other tasks


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    tests = [path for path in PYTHON_SOURCES if path.is_relative_to(ROOT / "tests")]
    assert {name(path): lines for path in tests if (lines := calls_of_sleep(path))} == {}


@pytest.mark.parametrize("comment", ["type: ignore", "noqa"])
def test_every_exception_from_a_check_gives_its_reason(comment: str) -> None:
    without_reason = re.compile(rf"#\s*{comment}(\[[\w, -]+\]|:\s*[A-Z]+\d+(, ?[A-Z]+\d+)*)?\s*$", re.MULTILINE)
    program_for_mypy = ROOT / "tests" / "docs" / "test_user_program.py"  # each of its ignores is what is tested
    found = {name(path): without_reason.findall(path.read_text()) for path in SOURCES if path != program_for_mypy}
    assert sorted(path for path, comments in found.items() if comments) == []


def test_every_allowed_skip_names_a_test_file_and_its_reason() -> None:
    lines = (ROOT / "tests" / "allowed_skips.txt").read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            test, _, reason = line.partition(": ")
            assert reason.strip(), f"no reason: {line}"
            assert (ROOT / test.partition("::")[0]).is_file(), f"no such test: {line}"
