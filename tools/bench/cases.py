"""What a benchmark with several cases prints: one row per case, the machine's calibration, and what was measured on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from shmlog.cli.output import print_json, text_table

from .figures import Figures

MET, MISSED = "met", "missed"


def verdict(value: float, target: float, *, at_least: bool) -> str:
    """Whether a figure is on the right side of its target."""
    return MET if (value >= target if at_least else value <= target) else MISSED


def print_cases(
    output: str, calibration: Figures, facts: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> None:
    """`facts` say what all rows have in common; the rows have the same keys, which head the columns of the table."""
    machine = {
        "loop_ns": calibration.loop_ns,
        "copy_gbps": calibration.copy_gbps,
        "wake_us": calibration.wake_us,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
    }
    if output == "json":
        print_json({"calibration": machine, **facts, "cases": [dict(row) for row in rows]})
        return
    print(text_table([name.replace("_", " ") for name in rows[0]], [list(row.values()) for row in rows]))
    for name, value in {**machine, **facts}.items():
        print(
            f"{name.replace('_', ' ')}: {value:,.2f}"
            if isinstance(value, float)
            else f"{name.replace('_', ' ')}: {value}"
        )
