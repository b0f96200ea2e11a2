"""Orders for faults: who sees that one is armed sees what it orders. native/fault_shim, which only torture uses."""

from __future__ import annotations

from tests.model.operations import ACQUIRE, RELEASE, Mutation, Thread, Violated, load, store
from tests.model.states import Model, Outcome


def arm() -> Thread:
    """Mirrors FaultOrders.arm (fault_shim.pyx)."""
    yield store("calls", "pwrite")
    yield store("errno", 28)
    yield store("armed", 1, RELEASE, "fault-arm")


def fault_for_path() -> Thread:
    """Mirrors fault_for_path (fault_shim.h)."""
    armed = yield load("armed", ACQUIRE, "fault-read")
    if armed:
        calls = yield load("calls")
        errno = yield load("errno")
        if (calls, errno) != ("pwrite", 28):
            raise Violated(f"fires with {calls!r}, {errno}")


def nothing(_: Outcome) -> None:
    """The claim is the shim's."""


def arming(_: Mutation | None = None) -> Model:
    """One order is armed while a system call looks."""
    return Model({"armed": 0, "calls": "", "errno": 0}, {"torture": arm, "shim": fault_for_path}, nothing)
