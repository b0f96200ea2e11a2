"""What a worker saw, as a file of int64 pairs, because millions of them are too much for a line of JSON."""

from __future__ import annotations

from array import array
from pathlib import Path


def write_pairs(file: Path, first: array[int], second: array[int]) -> None:
    """Two columns of the same length, one after the other."""
    with file.open("wb") as stream:
        first.tofile(stream)
        second.tofile(stream)


def read_back(file: Path) -> tuple[array[int], array[int]]:
    """What write_pairs wrote; the file is removed."""
    both = array("q")
    both.frombytes(file.read_bytes())
    file.unlink()
    half = len(both) // 2
    return both[:half], both[half:]
