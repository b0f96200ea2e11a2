"""What the supervision machine decided about a script of observations, as lines of text."""

from __future__ import annotations

from textwrap import dedent

from shmlog.machines.supervision import (
    CloseOwner,
    ExpectOwner,
    Gone,
    IsVacant,
    KillOwner,
    LogHasFailed,
    Observation,
    OrderStepDown,
    StartOwner,
    SupervisionMachine,
)

MS = 1_000_000


def trace(script: list[tuple[int, Observation]], machine: SupervisionMachine | None = None) -> str:
    """One line per observation: milliseconds, what was seen, what came out, and the phase of partition 1 afterwards."""
    machine = machine or SupervisionMachine(unresponsive_ms=1000)
    lines = []
    for at_ms, seen in script:
        step = machine.observe(seen, at_ms * MS)
        out = [f"epoch {record.leader_epoch}" for record in step.records]
        for action in step.actions:
            match action:
                case StartOwner():
                    out.append(f"start under {action.leader_epoch}")
                case ExpectOwner():
                    out.append(f"expect it under {action.leader_epoch}")
                case CloseOwner():
                    out.append("close and delete" if action.delete else "close")
                case KillOwner():
                    out.append("kill")
                case LogHasFailed():
                    out.append("log failed")
                case OrderStepDown():
                    out.append("step down")
                case IsVacant():
                    out.append("vacant")
                case Gone():
                    out.append("gone clean" if action.clean else "gone")
        due = machine.next_deadline_ns()
        if due is not None:
            out.append(f"due {due // MS}")
        lines.append(
            f"{at_ms:<5}{type(seen).__name__.lower():<13} -> {', '.join(out) or '-'} [{machine.phase(1).value}]"
        )
    return "\n".join(lines)


def told(text: str) -> str:
    return dedent(text).strip("\n")
