"""The protocols hold, each SYNC POINT is needed, and the core's comments and the table name the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.model.explorer import Explorer
from tests.model.operations import Mutation
from tests.model.sync_points import LARGER, MODELS, TABLE, UNLABELLED, UNNEEDED, Litmus

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"SYNC POINT ([a-z]+(?:-[a-z]+)*(?:, [a-z]+(?:-[a-z]+)*)*):")
ORDERED = re.compile(r"\bshm_(?:load\d*_acquire|store\d*_release|cas_release|fetch_\w+|fence_\w+)\(")
LINES_BETWEEN = 2  # of code, between the comment and the last access it is about
SOURCES = [
    *sorted(path for pattern in ("*.pyx", "*.h") for path in (ROOT / "shmlog" / "native").glob(pattern)),
    *sorted((ROOT / "shmlog" / "memory").glob("*.py")),
    *sorted((ROOT / "shmlog" / "partition").glob("*.py")),
]


def names_in(text: str) -> set[str]:
    return {name for names in NAMES.findall(text) for name in names.split(", ")}


# --- the models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_protocol_holds_under_reordering_and_kills(name: str) -> None:
    verdict = Explorer(MODELS[name](None)).run()
    assert not verdict.violation, verdict
    assert verdict.outcomes


@pytest.mark.parametrize("entry", TABLE, ids=str)
def test_the_protocol_breaks_without(entry: Litmus) -> None:
    verdict = entry.run()
    assert re.search(entry.violation, verdict.violation), f"{entry}: {verdict}"
    assert verdict.trace


@pytest.mark.parametrize(("mutation", "model", "reason"), UNNEEDED, ids=str)
def test_what_is_called_unneeded_is_not_needed(mutation: Mutation, model: str, reason: str) -> None:
    verdict = Explorer(MODELS[model](mutation), mutation).run()
    assert not verdict.violation, f"{reason}? {verdict}"


@pytest.mark.long
@pytest.mark.parametrize("name", LARGER)
def test_the_protocol_holds_in_larger_bounds(name: str) -> None:
    verdict = Explorer(LARGER[name](None)).run()
    assert not verdict.violation, verdict


@pytest.mark.long
@pytest.mark.parametrize("name", ["two wakers, one sleeper", "seeking by the index", "growing a ring", "fault orders"])
def test_the_reduction_hides_nothing(name: str) -> None:
    whole, reduced = Explorer(MODELS[name](None), eager=False).run(), Explorer(MODELS[name](None)).run()
    assert whole.outcomes == reduced.outcomes
    assert whole.states > reduced.states


# --- the core's comments ---------------------------------------------------------------------------------------------


def test_the_table_has_the_sync_points_of_the_core_and_no_others() -> None:
    in_the_core: set[str] = set().union(*(names_in(path.read_text()) for path in SOURCES))
    assert in_the_core == {entry.point for entry in TABLE}


def test_every_sync_point_has_a_name() -> None:
    nameless = {
        f"{path.name}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "SYNC POINT" in line and not NAMES.search(line) and path.name != "access.h"
    }
    assert nameless == set()


def is_labelled(lines: list[str], number: int) -> bool:
    """Whether a SYNC POINT comment stands in the line or shortly above it."""
    if names_in(lines[number]):
        return True
    between = 0
    for line in reversed(lines[:number]):
        if line.lstrip().startswith(("#", "/*", "*")):
            if names_in(line):
                return True
        else:
            between += 1
            if between > LINES_BETWEEN:
                return False
    return False


def unlabelled_accesses(path: Path) -> set[str]:
    lines = path.read_text().splitlines()
    code = [line.partition("  #")[0].partition("/*")[0].strip() for line in lines]
    return {
        code[number]
        for number in range(len(lines))
        if ORDERED.search(code[number])
        and not re.match(r"void shm_", code[number])  # a declaration
        and not is_labelled(lines, number)
    }


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix != ".py"], ids=lambda path: path.name)
def test_an_ordered_access_is_a_sync_point_or_has_a_reason_not_to_be(path: Path) -> None:
    if path.name != "access.h":
        assert unlabelled_accesses(path) == set(UNLABELLED.get(path.name, {}))
