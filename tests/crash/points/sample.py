"""What a kill is, and which kills of a scenario are made when there is no time for all of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

DOUBLES_SAMPLED = 40


@dataclass(frozen=True, order=True)
class Kill:
    """Where: at which point, what is left then, and at which point of the recovery again (0: not).

    `aside`: before which call the thread beside the main one has stopped meanwhile (0: it has not).
    """

    at: int
    final: str
    second: int = 0
    aside: int = 0


@dataclass(frozen=True)
class Sample:
    """Which kills of a scenario are made. The same seed chooses the same ones; without a sample all are made.

    Of the single ones every `every`-th, from a place on that is drawn, and the first and the last with each final. Of
    the pairs `doubles`, drawn (None: all). A second kill that is too late, because recoveries differ, does not count.
    """

    every: int = 1
    doubles: int | None = DOUBLES_SAMPLED
    seed: int = 0

    def of_singles(self, scenario: str, kills: list[Kill]) -> list[Kill]:
        """`kills`: all with one final."""
        first = random.Random(f"{self.seed} {scenario} {kills[0].final}").randrange(self.every)
        chosen = {0, len(kills) - 1, *range(first, len(kills), self.every)}
        return [kills[number] for number in sorted(chosen)]

    def of_pairs(self, pairs: list[Kill]) -> list[Kill]:
        if self.doubles is None:
            return pairs
        return random.Random(self.seed).sample(pairs, min(self.doubles, len(pairs)))
