"""What is explored: a program of several threads, its states, and what is said of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.operations import Location, Thread, Value
from tests.model.views import History, View

RUNS, ENDED, KILLED, ASLEEP = range(4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: the notes of its threads, who was killed, and the last value of every location."""

    notes: dict[str, tuple[Value, ...]]
    killed: frozenset[str]
    last: dict[Location, Value]


@dataclass(frozen=True, slots=True)
class Model:
    """A program. `final` raises Violated when an execution that has ended breaks a claim.

    Threads in `killable` may be killed before any of their effects; those in `may_wait` may be left waiting at the end.
    Locations in `shared` may have several writers at once; those in `private` are touched by threads that run one after
    the other only, so that just their last value counts.
    """

    initial: dict[Location, Value]
    threads: dict[str, Callable[[], Thread]]
    final: Callable[[Outcome], None]
    shared: frozenset[Location] = frozenset()
    private: frozenset[Location] = frozenset()
    killable: frozenset[str] = frozenset()
    may_wait: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`violation`: "" if the claims hold in every execution, else what happened; `trace`: how, line by line."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()
    outcomes: frozenset[tuple[tuple[str, tuple[Value, ...]], ...]] = frozenset()

    def __str__(self) -> str:
        return "\n".join([self.violation or f"holds in {self.states} states", *self.trace])


class ThreadState(NamedTuple):
    node: int
    current: View
    acquired: View
    released: View
    status: int
    notes: tuple[Value, ...]


class State(NamedTuple):
    threads: tuple[ThreadState, ...]
    fenced: View  # the view that seq_cst fences share
    memory: tuple[History, ...]


class Move(NamedTuple):
    thread: int
    node: int  # -1: it is killed
    result: Value
