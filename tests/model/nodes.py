"""The local states of threads, and how a step from one is told in a counterexample."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.operations import Kind, Operation, Order, Program, Value

WRITES = {Kind.STORE, Kind.CAS, Kind.NOTE}


@dataclass(slots=True)
class Node:
    """A local state of a thread: its next operation (None: it has ended), and the results that lead here."""

    operation: Operation | None
    results: tuple[Value, ...]
    program: Program | None
    violation: str = ""
    function: str = ""
    line: int = 0
    next: dict[Value, int] = field(default_factory=dict)


def told(thread: str, node: Node | None, result: Value) -> str:
    """One line of a trace; without a node the thread is killed."""
    if node is None:
        return f"{thread:10} is killed"
    operation = node.operation
    assert operation is not None
    words = [f"{node.function}:{node.line}", operation.kind.value]
    if operation.kind is Kind.OWN:
        words.append(" ".join(str(location) for location in operation.value))
    elif operation.location is not None:
        words.append(str(operation.location))
    if operation.kind in WRITES:
        words.append(f"= {operation.value}")
    if operation.order is not Order.RELAXED:
        words.append(operation.order.value)
    if operation.point:
        words.append(f"[{operation.point}]")
    gives = "" if result is None else f" -> {result}"
    return f"{thread:10} {' '.join(words)}{gives}"
