"""Bounds that the compiled core has, too, are the same there."""

from __future__ import annotations

import re
from pathlib import Path

from shmlog import limits

HANDOFF = Path(__file__).parents[2] / "shmlog" / "native" / "handoff.h"


def test_the_core_has_the_same_bounds() -> None:
    defined = {name: int(value) for name, value in re.findall(r"#define (\w+) +(\d+)$", HANDOFF.read_text(), re.M)}
    assert defined["RING_BATCHES"] == limits.RING_BATCHES_MIN
