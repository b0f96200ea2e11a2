"""A hot path that takes more than a twentieth more instructions than it did fails here, however busy the machine is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.instructions.counting import FIGURES, count, missing_tools, toolchain

pytestmark = pytest.mark.slow

GROWTH_MAX = 1.05
PATHS = ("send", "send_many", "publish", "read", "decode")
COMMITTED: dict[str, Any] = json.loads(FIGURES.read_text())


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    missing = missing_tools()
    if missing:
        pytest.skip(f"needs the packages {' and '.join(missing)}")
    return count(tmp_path_factory.mktemp("instructions"))


def test_every_hot_path_is_counted_and_has_its_figure(counted: dict[str, float]) -> None:
    assert set(counted) == set(COMMITTED["instructions per record"]) == set(PATHS)
    assert all(instructions > 100 for instructions in counted.values())


@pytest.mark.parametrize("path", PATHS)
def test_no_hot_path_has_grown_by_more_than_a_twentieth(counted: dict[str, float], path: str) -> None:
    if toolchain() != COMMITTED["made with"]:
        pytest.skip(f"the figures are of {COMMITTED['made with']}, and this core was made with {toolchain()}")
    before, now = COMMITTED["instructions per record"][path], counted[path]
    assert now <= before * GROWTH_MAX, (
        f"{path} takes {now:,.0f} instructions per record, and took {before:,.0f}. If what it gained is worth that, run"
        " `python tests/instructions/counting.py`, and say in the commit what it was"
    )
