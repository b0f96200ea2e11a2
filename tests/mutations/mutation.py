"""One way to break the code, which a crash point has to notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """`old` occurs once in the file at `path`; with `new` in its place `scenario` of tests/crash/points must fail."""

    name: str
    path: str
    old: str
    new: str
    scenario: str
