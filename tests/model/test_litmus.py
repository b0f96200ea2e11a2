"""The explorer against litmus tests whose outcomes are known: it must be as weak as RC11, and no weaker.

Names and verdicts are those of the literature (Alglave et al., "Herding cats", TOPLAS 2014; Lahav et al., "Repairing
sequential consistency in C/C++11", PLDI 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.explorer import Explorer
from tests.model.operations import (
    ACQUIRE,
    RELAXED,
    RELEASE,
    SEQ_CST,
    Mutation,
    Operation,
    Thread,
    Violated,
    after,
    cas,
    fence,
    futex_wait,
    futex_wake,
    load,
    note,
    own,
    store,
    update,
)
from tests.model.states import Model, Outcome


def program(*operations: Operation) -> Callable[[], Thread]:
    """A thread that does these in turn; at its end it notes everything that its loads gave."""

    def thread() -> Thread:
        seen: tuple[int, ...] = ()
        for k in range(len(operations)):
            result = yield operations[k]
            if result is not None:
                seen += (int(result),)
        yield note(seen)

    return thread


def accept(_: Outcome) -> None:
    """Every end is fine."""


def outcomes(*threads: Callable[[], Thread], shared: str = "", eager: bool = True) -> set[tuple[int, ...]]:
    """What the loads of all threads together may give."""
    model = Model(
        initial={"x": 0, "y": 0, "z": 0},
        threads={str(k): thread for k, thread in enumerate(threads)},
        final=accept,
        shared=frozenset(shared),
    )
    verdict = Explorer(model, eager=eager).run()
    assert not verdict.violation, verdict
    return {tuple(value for _, notes in end for value in notes[0]) for end in verdict.outcomes}


def message_passing(writes: tuple[Operation, ...], reads: tuple[Operation, ...]) -> bool:
    """Whether a reader may see the flag without the data."""
    return (1, 0) in outcomes(program(*writes), program(*reads))


DATA, FLAG = store("x", 1), load("y")


@pytest.mark.parametrize(
    ("writes", "reads", "weak"),
    [
        ((DATA, store("y", 1)), (FLAG, load("x")), True),
        ((DATA, store("y", 1, RELEASE)), (FLAG, load("x")), True),
        ((DATA, store("y", 1)), (load("y", ACQUIRE), load("x")), True),
        ((DATA, store("y", 1, RELEASE)), (load("y", ACQUIRE), load("x")), False),
        ((DATA, fence(RELEASE), store("y", 1)), (load("y", ACQUIRE), load("x")), False),
        ((DATA, fence(RELEASE), store("y", 1)), (FLAG, fence(ACQUIRE), load("x")), False),
        ((DATA, store("y", 1, RELEASE)), (FLAG, fence(ACQUIRE), load("x")), False),
        ((DATA, fence(ACQUIRE), store("y", 1)), (FLAG, fence(ACQUIRE), load("x")), True),
        ((DATA, fence(SEQ_CST), store("y", 1)), (FLAG, fence(SEQ_CST), load("x")), False),
    ],
)
def test_message_passing_needs_a_release_and_an_acquire(
    writes: tuple[Operation, ...], reads: tuple[Operation, ...], *, weak: bool
) -> None:
    assert message_passing(writes, reads) is weak


@pytest.mark.parametrize(
    ("left", "right", "weak"), [((), (), True), ((fence(SEQ_CST),), (), True), ((fence(SEQ_CST),),) * 2 + (False,)]
)
def test_store_buffering_needs_a_full_fence_on_both_sides(
    left: tuple[Operation, ...], right: tuple[Operation, ...], *, weak: bool
) -> None:
    ends = outcomes(
        program(store("x", 1, RELEASE), *left, load("y", ACQUIRE)),
        program(store("y", 1, RELEASE), *right, load("x", ACQUIRE)),
    )
    assert ((0, 0) in ends) is weak


def test_two_readers_may_see_two_writes_in_different_orders_unless_they_fence() -> None:
    writers = program(store("x", 1, RELEASE)), program(store("y", 1, RELEASE))
    for between, weak in (((), True), ((fence(SEQ_CST),), False)):
        readers = (
            program(load("x", ACQUIRE), *between, load("y", ACQUIRE)),
            program(load("y", ACQUIRE), *between, load("x", ACQUIRE)),
        )
        assert ((1, 0, 1, 0) in outcomes(*writers, *readers)) is weak


def test_what_is_passed_on_carries_what_was_seen_before() -> None:
    for order, weak in ((ACQUIRE, False), (RELAXED, True)):
        ends = outcomes(
            program(store("z", 1), store("x", 1, RELEASE)),
            program(load("x", order, until=bool), store("y", 1, RELEASE)),
            program(load("y", ACQUIRE, until=bool), load("z")),
        )
        assert ((1, 1, 0) in ends) is weak


def test_one_location_is_never_read_backwards() -> None:
    ends = outcomes(program(store("x", 1), store("x", 2)), program(load("x"), load("x")))
    assert ends == {(a, b) for a in range(3) for b in range(a, 3)}


def test_stores_of_two_writers_may_land_before_earlier_ones() -> None:
    """2+2W: both first stores end up last in modification order, which needs stores that are inserted."""
    ends = outcomes(
        program(store("x", 1), store("y", 2)),
        program(store("y", 1), store("x", 2)),
        program(after("0"), after("1"), load("x"), load("y")),
        shared="xy",
    )
    assert ends == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_read_modify_writes_lose_nothing_and_pass_on_what_they_read() -> None:
    def increment(value: int) -> int:
        return value + 1

    ends = outcomes(*[program(update("x", increment, RELAXED))] * 3, shared="x")
    assert {tuple(sorted(end)) for end in ends} == {(0, 1, 2)}
    ends = outcomes(
        program(store("z", 1), store("x", 1, RELEASE)),
        program(load("x", until=bool), cas("x", 1, 2, RELAXED)),
        program(load("x", ACQUIRE, until=lambda value: value == 2), load("z")),
        shared="x",
    )
    assert ends == {(1, 1, 2, 1)}


def test_of_two_swaps_one_fails() -> None:
    ends = outcomes(program(cas("x", 0, 1, RELEASE)), program(cas("x", 0, 2, RELEASE)), shared="x")
    assert ends == {(1, 0), (0, 1)}


def test_the_end_of_a_thread_shows_all_of_its_stores() -> None:
    assert outcomes(program(store("x", 1), store("y", 1)), program(after("0"), load("x"), load("y"))) == {(1, 1)}


def test_a_killed_thread_leaves_a_prefix_of_its_stores() -> None:
    model = Model(
        initial={"x": 0, "y": 0, "z": 0},
        threads={
            "victim": program(store("x", 1), store("y", 1), store("z", 1)),
            "heir": program(after("victim"), load("x"), load("y"), load("z")),
        },
        final=accept,
        killable=frozenset({"victim"}),
    )
    ends = {dict(end)["heir"][0] for end in Explorer(model).run().outcomes}
    assert ends == {(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)}


def test_unordered_writers_of_one_cell_are_found() -> None:
    model = Model({"x": 0}, {"a": program(store("x", 1)), "b": program(store("x", 2))}, accept)
    assert "without having seen its last value" in Explorer(model).run().violation


def test_a_sleeper_that_nobody_wakes_is_found() -> None:
    model = Model({"x": 0}, {"a": program(futex_wait("x", 0)), "b": program(futex_wake("x"))}, accept)
    assert Explorer(model).run().violation == "a sleeps for ever"
    woken = Model({"x": 0}, {"a": program(futex_wait("x", 0)), "b": program(store("x", 1), futex_wake("x"))}, accept)
    assert Explorer(woken).run().violation == ""


def test_a_counterexample_tells_who_did_what() -> None:
    def check(outcome: Outcome) -> None:
        if outcome.notes["reader"] == ((1, 0),):
            raise Violated("the flag came without the data")

    threads = {
        "writer": program(store("x", 1), store("y", 1, RELEASE, "flag")),
        "reader": program(load("y", ACQUIRE, until=bool), load("x")),
    }
    model = Model({"x": 0, "y": 0}, threads, check)
    assert Explorer(model).run().violation == ""
    verdict = Explorer(model, Mutation("flag", "relaxed")).run()
    assert verdict.violation == "the flag came without the data"
    assert [line.split()[0] for line in verdict.trace].count("reader") == 3
    assert "[flag]" in str(verdict)
    late = Explorer(
        Model(
            {"x": 0, "y": 0}, {**threads, "writer": program(store("x", 1, point="data"), store("y", 1, RELEASE))}, check
        ),
        Mutation("data", "late"),
    )
    assert late.run().violation == "the flag came without the data"


SHAPES = {
    "message passing": (
        program(store("x", 1), store("x", 2), store("y", 1, RELEASE)),
        program(load("y"), load("x"), fence(ACQUIRE), load("x")),
    ),
    "store buffering": (
        program(store("x", 1), fence(SEQ_CST), load("y"), store("z", 1, RELEASE)),
        program(store("y", 1), load("x"), fence(SEQ_CST), load("z", ACQUIRE)),
    ),
    "waiting": (
        program(store("x", 1), store("x", 2), store("y", 1, RELEASE)),
        program(load("x", until=lambda value: value > 2, over="0"), load("y")),
        program(load("x", until=bool, over="0"), load("y")),
    ),
    "three threads": (
        program(store("x", 1), store("y", 1, RELEASE)),
        program(load("y", ACQUIRE), store("z", 1), own("z")),
        program(load("z"), fence(ACQUIRE), load("x"), load("y")),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_doing_harmless_operations_at_once_changes_no_outcome(shape: str) -> None:
    assert outcomes(*SHAPES[shape]) == outcomes(*SHAPES[shape], eager=False)
