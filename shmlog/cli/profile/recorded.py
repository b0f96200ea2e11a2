"""A recorded profile, read from its file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from shmlog.cli.profile.hops import Reading, Sample
from shmlog.cli.profile.recording import FORMAT
from shmlog.errors import ShmlogError


class NoProfileError(ShmlogError):
    """A file that is not a recorded profile."""

    name = "NO_PROFILE"


@dataclass(slots=True)
class Recorded:
    """What `shmlog profile record` left. `seconds` is None if it was killed: then the end is missing, nothing else."""

    cluster: str
    started_ms: int
    samples: list[Sample] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    seconds: float | None = None
    lost: int = 0
    trouble: str = ""

    def partitions(self) -> list[str]:
        """Those of which records were followed, topics by name and partitions by number."""
        return sorted({sample.partition for sample in self.samples}, key=_by_number)


def load(path: Path) -> Recorded:
    """Raises NoProfileError for another file. A last line without an end was being written when the recorder died."""
    lines = path.read_bytes().split(b"\n")
    if len(lines) > 1 and lines[-1]:
        lines.pop()
    try:
        head, *rest = [orjson.loads(line) for line in lines if line]
        if head["format"] != FORMAT:
            raise NoProfileError(f"{path} has format {head['format']!r}; this shmlog reads {FORMAT!r}")
        found = Recorded(head["cluster"], head["started_ms"])
        for line in rest:
            _take(found, line)
    except (ValueError, TypeError, KeyError) as error:
        raise NoProfileError(
            f"{path} was not written by `shmlog profile record`: {type(error).__name__}: {error}"
        ) from error
    return found


def _take(found: Recorded, line: dict[str, Any]) -> None:
    if "taken_ns" in line:
        found.samples.append(Sample(**_numbers(Sample, line)))
    elif "read_ns" in line:
        found.readings.append(Reading(**_numbers(Reading, line)))
    else:
        found.seconds, found.lost, found.trouble = float(line["seconds"]), int(line["lost"]), str(line["trouble"])


def _numbers(kind: type[Sample | Reading], line: dict[str, Any]) -> dict[str, Any]:
    return {one.name: str(line[one.name]) if one.name == "partition" else int(line[one.name]) for one in fields(kind)}


def _by_number(partition: str) -> tuple[str, int]:
    topic, _, number = partition.rpartition("-")
    return topic, int(number)
