"""What a thread of a model can do to shared memory, and how one access can be made weaker.

A thread is a generator function: it yields operations and is sent their results, so that it reads like the C that it
mirrors. Its local variables are hashable and its yields stand alone (`x = yield load(...)`), because the explorer tells
local states apart by the line and the locals.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

Location = Hashable
Value = Any  # whatever a cell of the model holds; hashable
Thread = Generator["Operation", Value, None]
Step = Generator["Operation", Value, Value]


class Order(Enum):
    """Memory orders. ACQUIRE and RELEASE name one side; an RMW has the side that the header's function gives it."""

    RELAXED = "relaxed"
    ACQUIRE = "acquire"
    RELEASE = "release"
    SEQ_CST = "seq_cst"


RELAXED, ACQUIRE, RELEASE, SEQ_CST = Order


class Kind(Enum):
    LOAD = "load"
    STORE = "store"
    UPDATE = "update"
    CAS = "cas"
    FENCE = "fence"
    WAIT = "futex wait"
    WAKE = "futex wake"
    AFTER = "after the end of"
    CHOOSE = "choose"
    NOTE = "note"
    OWN = "load own"


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One step of a thread. `point` is the SYNC POINT in the core that it stands for, "" if nobody relies on it."""

    kind: Kind
    location: Location = None
    value: Value = None
    order: Order = RELAXED
    point: str = ""
    expected: Value = None
    change: Callable[[Value], Value] | None = None
    until: Callable[[Value], bool] | None = None
    over: str = ""


def load(
    location: Location,
    order: Order = RELAXED,
    point: str = "",
    *,
    until: Callable[[Value], bool] | None = None,
    over: str = "",
) -> Operation:
    """Read any message that coherence allows. `until`: wait for a value that it likes; when thread `over` is over, and
    all that it stored is seen, any other value will do."""
    frozen = {*getattr(getattr(until, "__code__", None), "co_freevars", ())}
    assert not frozen & {*sys._getframe(1).f_code.co_cellvars}, "bind what `until` looks at: it is asked later"
    return Operation(Kind.LOAD, location, None, order, point, until=until, over=over)


def more_than(bound: int) -> Callable[[int], bool]:
    """For `until`: a larger number than this one."""

    def is_more(value: int) -> bool:
        return value > bound

    return is_more


def own(*locations: Location) -> Operation:
    """Read cells that nobody but this thread's role writes (a successor has seen its predecessor's stores)."""
    return Operation(Kind.OWN, value=locations)


def store(location: Location, value: Value, order: Order = RELAXED, point: str = "") -> Operation:
    return Operation(Kind.STORE, location, value, order, point)


def cas(location: Location, expected: Value, value: Value, order: Order, point: str = "") -> Operation:
    """Compare and swap; True when it swapped. Relaxed on failure."""
    return Operation(Kind.CAS, location, value, order, point, expected=expected)


def update(location: Location, change: Callable[[Value], Value], order: Order, point: str = "") -> Operation:
    """An atomic read-modify-write; gives the value from before."""
    return Operation(Kind.UPDATE, location, None, order, point, change=change)


def fence(order: Order, point: str = "") -> Operation:
    return Operation(Kind.FENCE, order=order, point=point)


def futex_wait(location: Location, expected: Value) -> Operation:
    """Sleep unless the cell differs from `expected`; the kernel compares and goes to sleep in one step."""
    return Operation(Kind.WAIT, location, expected=expected)


def futex_wake(location: Location) -> Operation:
    """Wake everybody who sleeps on the cell now."""
    return Operation(Kind.WAKE, location)


def after(thread: str) -> Operation:
    """Go on when another thread has finished or was killed, as the kernel says: all of its stores are then seen."""
    return Operation(Kind.AFTER, thread)


def choose(*values: Value) -> Operation:
    return Operation(Kind.CHOOSE, value=values)


def note(value: Value) -> Operation:
    """Leave a word for the final check: what this thread knows to have happened. A killed thread's notes stay."""
    return Operation(Kind.NOTE, value=value)


class Violated(Exception):  # noqa: N818 - a verdict about the protocol, not an error of the model
    """A claim of the protocol does not hold in this execution."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A defect at one SYNC POINT: what the model must find.

    `how`: "relaxed" takes the order from the access, "dropped" leaves it out, "late" does it after the thread's next
    operation. Anything else is a variant that the model itself spells out, asking for it with is_on().
    """

    point: str
    how: str

    def __str__(self) -> str:
        return f"{self.point}: {self.how}"


GENERAL = ("relaxed", "dropped", "late")


class Program:
    """One thread as it runs: its generator, with the mutation applied to what it yields."""

    def __init__(self, thread: Thread, mutation: Mutation | None) -> None:
        self._thread = thread
        self._mutation = mutation if mutation is not None and mutation.how in GENERAL else None
        self._held: Operation | None = None  # made late: due after the operation that was given last
        self._answer: Value = None  # what the thread gets once the held operation is done
        self._holds = False
        self._last: Operation | None = None  # made late, and nothing comes after it

    def send(self, value: Value) -> Operation:
        """The next operation, given the result of the last. StopIteration at the end, Violated from a claim."""
        if self._last is not None:
            raise StopIteration
        if self._holds and self._held is not None:
            held, self._held, self._answer = self._held, None, value
            return held
        if self._holds:
            self._holds, value = False, self._answer
        return self._next(value)

    def _next(self, value: Value) -> Operation:
        operation = self._thread.send(value)
        mutation = self._mutation
        if mutation is None or operation.point != mutation.point:
            return operation
        if mutation.how == "relaxed":
            return replace(operation, order=RELAXED)
        if mutation.how == "dropped":
            return self._next(None)
        try:
            sooner = self._thread.send(None)
        except StopIteration:
            self._last = operation
            return operation
        self._held, self._holds = operation, True
        return sooner

    def position(self) -> tuple[Hashable, ...]:
        """Where the thread stands and what it knows: equal for equal local states."""
        frames: list[Hashable] = [self._holds, self._held is None, self._answer]
        if self._last is not None:
            frames.append(self._last.value)
        generator: Any = self._thread
        while generator is not None:
            frame = generator.gi_frame
            if frame is not None:  # else it ends with the operation that was made late
                frames += [frame.f_code, frame.f_lasti, frozenset(frame.f_locals.items())]
            generator = generator.gi_yieldfrom
        return tuple(frames)

    def line(self) -> tuple[str, int]:
        """Function and line of the operation that was given last, for a trace."""
        generator: Any = self._thread
        while generator.gi_yieldfrom is not None:
            generator = generator.gi_yieldfrom
        frame = generator.gi_frame
        return (generator.gi_code.co_name, frame.f_lineno) if frame else ("", 0)
