"""The plan of a torture: which fault happens when, to whom and for how long. A seed makes it; nothing here acts.

A plan is data: it can be printed, kept, shortened by hand, and replayed. Targets are numbers that are taken modulo how
many there are of a kind, so that a plan makes sense with any profile.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shmlog.cli.torture.faults import KINDS
from shmlog.errors import InvalidConfigError
from shmlog.settings import did_you_mean

WARM_UP_S = 0.5
TARGETS = 1 << 16
SHARE_OF_RUN = 0.95
"""Faults begin in this part of the run; the rest shows the cluster at work again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `skip` and `count` are numbers of calls, for a disk that misbehaves: so many pass, so many fail.
    `jump_s`: by how many seconds a clock is set.
    """

    at_s: float
    kind: str
    target: int
    seconds: float = 0.0
    skip: int = 0
    count: int = 0
    jump_s: int = 0

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        words = f"{self.at_s:7.3f} s  {self.kind:<16} target {self.target:<6}"
        if self.seconds:
            words += f" for {self.seconds:.3f} s"
        if kind.group == "disk":
            words += f" after {self.skip} calls"
        if kind.group == "clock":
            words += f" by {self.jump_s:+d} s"
        return words


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of one torture, in order, and what they were made from."""

    seed: int
    seconds: float
    faults: tuple[Fault, ...]

    def as_json(self) -> dict[str, Any]:
        """What plan_from_json() takes."""
        return {"seed": self.seed, "seconds": self.seconds, "faults": [asdict(fault) for fault in self.faults]}


def make_plan(seed: int, seconds: float, rates: Mapping[str, float]) -> Plan:
    """The plan of a seed: of each kind as many faults as its rate per minute gives, at least one if it has a rate.

    Each kind draws from its own generator, so that another rate of one leaves the others where they were.
    """
    faults: list[Fault] = []
    for name, kind in KINDS.items():
        rate = rates.get(name, 0.0)
        chance = random.Random(f"{seed}/{name}")
        faults += [
            Fault(
                at_s=round(chance.uniform(min(WARM_UP_S, seconds / 4), seconds * SHARE_OF_RUN), 4),
                kind=name,
                target=chance.randrange(TARGETS),
                seconds=round(chance.uniform(*kind.seconds), 4),
                skip=chance.randint(*kind.skip) if kind.group == "disk" else 0,
                count=chance.randint(*kind.count) if kind.group == "disk" else 0,
                jump_s=chance.randint(*kind.jump_s) if kind.group == "clock" else 0,
            )
            for _ in range(max(1, round(rate * seconds / 60)) if rate > 0 else 0)
        ]
    return Plan(seed, seconds, tuple(sorted(faults, key=lambda fault: (fault.at_s, fault.kind))))


def plan_from_json(given: object) -> Plan:
    """A plan that was printed, perhaps edited since. Raises InvalidConfigError that says what is wrong with it."""
    if not isinstance(given, dict) or set(given) != {"seed", "seconds", "faults"}:
        raise InvalidConfigError("a plan is an object with seed, seconds and faults, as --dry-run -o json prints it")
    try:
        faults = tuple(sorted((Fault(**one) for one in given["faults"]), key=lambda fault: fault.at_s))
        plan = Plan(int(given["seed"]), float(given["seconds"]), faults)
    except (TypeError, ValueError) as error:
        raise InvalidConfigError(f"not a plan: {error}") from None
    for fault in plan.faults:
        if fault.kind not in KINDS:
            raise InvalidConfigError(f"unknown fault {fault.kind!r}" + did_you_mean(fault.kind, KINDS))
    return plan


def planned(faults: Iterable[Fault], group: str) -> int:
    """How many of them belong to a group: kill, stop, disk or clock."""
    return sum(KINDS[fault.kind].group == group for fault in faults)
