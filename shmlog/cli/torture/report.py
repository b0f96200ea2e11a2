"""What a torture says at its end: what happened, what was broken, and one line that is the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import click

from shmlog.cli.torture.injection import Injector
from shmlog.testing import Verdict
from shmlog.testing.group_checker import GroupVerdict

COMPLAINTS_SHOWN_MAX = 20
RULES_SHOWN = ("lost", "duplicated", "reordered", "unread")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found. `complaints` are sentences about violations that are no rule of the checker."""

    seed: int
    seconds: float
    done: Counter[str]
    kills: int
    stops: int
    faults: int
    jumps: int
    verdict: Verdict
    group: GroupVerdict
    complaints: Sequence[str]
    troubles: Counter[str]

    @classmethod
    def of(
        cls,
        seed: int,
        seconds: float,
        injector: Injector,
        verdict: Verdict,
        group: GroupVerdict,
        complaints: Sequence[str],
        troubles: Counter[str],
    ) -> Report:
        """From what the torture left."""
        kills, stops, faults, jumps = (injector.count(group) for group in ("kill", "stop", "disk", "clock"))
        return cls(seed, seconds, injector.done, kills, stops, faults, jumps, verdict, group, complaints, troubles)

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.complaints

    def as_json(self) -> dict[str, object]:
        """The figures by the names that programs rely on."""
        rules = {rule: self.verdict.broken.get(rule, 0) for rule in RULES_SHOWN}
        return {
            "verdict": "ok" if self.ok else "broken",
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "kills": self.kills,
            "stops": self.stops,
            "faults": self.faults,
            "jumps": self.jumps,
            "attempts": self.verdict.attempts,
            "acks": self.verdict.acks,
            "reads": self.verdict.reads,
            **rules,
            "broken": self.verdict.broken,
            "group": {
                "members": self.group.members,
                "assignments": self.group.assignments,
                "delivered": self.group.delivered,
                "redelivered": self.group.redelivered,
                "committed": self.group.committed,
                "broken": self.group.broken,
            },
            "by_kind": dict(sorted(self.done.items())),
            "troubles": dict(sorted(self.troubles.items())),
            "complaints": [*self.verdict.examples, *self.complaints],
        }

    def print(self) -> None:
        """For people: what was done, what clients had to bear, what is wrong; the verdict in the last line."""
        click.echo("done to it:  " + ", ".join(f"{name} {count}" for name, count in sorted(self.done.items())))
        if self.troubles:
            borne = ", ".join(f"{name} {count}" for name, count in sorted(self.troubles.items()))
            click.echo(f"clients saw: {borne} (each may pass, and did)")
        if self.group.members:
            seen = self.group
            click.echo(
                f"the group:   {seen.members} members, {seen.assignments} assignments, {seen.delivered} delivered,"
                f" {seen.redelivered} of them again, {seen.committed} commits"
            )
        for sentence in [*self.verdict.examples, *self.complaints][:COMPLAINTS_SHOWN_MAX]:
            click.echo(f"wrong: {sentence}", err=True)
        click.echo(self.line())

    def line(self) -> str:
        """The verdict."""
        broken = self.verdict.broken
        others = {rule: count for rule, count in broken.items() if rule not in RULES_SHOWN}
        if self.complaints:
            others["complaints"] = len(self.complaints)
        counts = {
            "kills": self.kills,
            "stops": self.stops,
            "faults": self.faults,
            "jumps": self.jumps,
            "acks": self.verdict.acks,
            **{rule: broken.get(rule, 0) for rule in RULES_SHOWN},
            **others,
        }
        words = " ".join(f"{name}={count}" for name, count in counts.items())
        return f"verdict: {'ok' if self.ok else 'BROKEN'}  {words}"
