"""Doorbells: nobody sleeps past news. native/doorbell, native/futex.h, and their callers.

    sleeper: ticket = doorbell; sleeping = 1; fence; look once more; futex_wait(doorbell, ticket); sleeping = 0
    waker:   store the news; fence; if sleeping: { doorbell += 1; futex_wake }

A task of an event loop sleeps on an eventfd instead, which a thread of its process writes after every ring (relay.h).

Timeouts of the real waits are left out: a wait that only its timeout ends is what must not happen.
"""

from __future__ import annotations

from tests.model.operations import (
    ACQUIRE,
    RELEASE,
    SEQ_CST,
    Location,
    Mutation,
    Step,
    Thread,
    after,
    fence,
    futex_wait,
    futex_wake,
    load,
    more_than,
    store,
    update,
)
from tests.model.states import Model, Outcome


def is_on(mutation: Mutation | None, point: str, how: str) -> bool:
    return mutation == Mutation(point, how)


def doorbell_prepare(mutation: Mutation | None) -> Step:
    """Mirrors Doorbell.prepare (doorbell.pyx)."""
    ticket = yield load("doorbell", ACQUIRE, "bell-ticket")
    yield store("sleeping", 1)
    yield fence(SEQ_CST, "bell-sleep")
    return ticket


def bell_ring_if_sleeping() -> Step:
    """Mirrors bell_ring_if_sleeping (futex.h)."""
    sleeping = yield load("sleeping")
    if sleeping:
        yield update("doorbell", lambda count: count + 1, RELEASE, "bell-count")
        yield futex_wake("doorbell")


def sleeper(news: tuple[Location, ...], mutation: Mutation | None) -> Thread:
    """Sleeps until it has seen all the news: OwnerAgent._sleep, Fetcher.wait, Sleeper.until."""
    missing = len(news)
    while missing:
        ticket = yield from doorbell_prepare(mutation)
        missing = 0
        for k in range(len(news)):  # look once more
            seen = yield load(news[k])
            missing += not seen
        if is_on(mutation, "bell-ticket", "taken after the second look"):
            ticket = yield load("doorbell", ACQUIRE)
        if missing:
            yield futex_wait("doorbell", ticket)  # mirrors Doorbell.wait (doorbell.pyx)
        yield store("sleeping", 0)


def waker(news: Location) -> Thread:
    """Mirrors Doorbell.ring, LaneTable._wake and LaneWriter._announce: news, fence, ring."""
    yield store(news, 1, RELEASE)
    yield fence(SEQ_CST, "bell-ring")
    yield from bell_ring_if_sleeping()


def busy_waker(news: tuple[Location, ...]) -> Thread:
    """One process that has news again and again."""
    for k in range(len(news)):
        yield from waker(news[k])


def undertaker(victim: str, news: Location) -> Thread:
    """The supervisor: it sees a waker die, and then has news of its own for the sleeper (supervisor/owners)."""
    yield after(victim)
    yield from waker(news)


def relay(mutation: Mutation | None) -> Thread:
    """Mirrors relay_run (relay.h), armed once; the locks that it shares with its process are acquire and release."""
    heard = yield load("ticket", ACQUIRE, until=more_than(-1))  # relay_arm
    stopping = 0
    while not stopping:
        yield futex_wait("doorbell", heard)
        now = yield load("doorbell", ACQUIRE, "bell-relay")
        if now != heard:
            heard = now
            yield update("eventfd", lambda count: count + 1, RELEASE)  # write(2)
            yield futex_wake("eventfd")
            if is_on(mutation, "bell-relay", "remembered after the write"):
                heard = yield load("doorbell", ACQUIRE)
        stopping = yield load("stopping", ACQUIRE)


def task(news: tuple[Location, ...], mutation: Mutation | None) -> Thread:
    """Sleeps in an event loop until it has seen all the news: LoopBell.sleep (client/loop_bell), whose flag stays up
    from the first look to the last. Then it ends the relay: relay_stop."""
    ticket = yield from doorbell_prepare(mutation)
    yield store("ticket", ticket, RELEASE)
    missing = len(news)
    while missing:
        missing = 0
        for k in range(len(news)):
            seen = yield load(news[k])
            missing += not seen
        if is_on(mutation, "bell-relay", "the eventfd is read after the look"):
            yield update("eventfd", lambda _: 0, ACQUIRE)
        if missing:
            yield futex_wait("eventfd", 0)  # epoll
        if not is_on(mutation, "bell-relay", "the eventfd is read after the look"):
            yield update("eventfd", lambda _: 0, ACQUIRE)
    yield store("sleeping", 0)
    yield store("stopping", 1, RELEASE)
    yield update("doorbell", lambda count: count + 1, RELEASE)
    yield futex_wake("doorbell")


def nothing(_: Outcome) -> None:
    """That everybody comes to an end is the claim; the explorer checks it."""


def two_wakers(mutation: Mutation | None = None) -> Model:
    """Two processes with news for one sleeper, which may go to sleep between the two."""
    return Model(
        initial={"first": 0, "second": 0, "doorbell": 0, "sleeping": 0},
        threads={
            "sleeper": lambda: sleeper(("first", "second"), mutation),
            "waker 1": lambda: waker("first"),
            "waker 2": lambda: waker("second"),
        },
        shared=frozenset({"doorbell"}),
        final=nothing,
    )


def killed_waker(mutation: Mutation | None = None) -> Model:
    """A waker that is killed between its news and its ring: the news arrive with the supervisor's ring."""
    return Model(
        initial={"obituary": 0, "doorbell": 0, "sleeping": 0, "news": 0},
        threads={
            "sleeper": lambda: sleeper(("obituary",), mutation),
            "waker": lambda: waker("news"),
            "supervisor": lambda: undertaker("waker", "obituary"),
        },
        shared=frozenset({"doorbell"}),
        killable=frozenset({"waker"}),
        final=nothing,
    )


def relayed(mutation: Mutation | None = None) -> Model:
    """A process with news, and more news, for a task that sleeps in an event loop."""
    return Model(
        initial={"first": 0, "second": 0, "doorbell": 0, "sleeping": 0, "ticket": -1, "eventfd": 0, "stopping": 0},
        threads={
            "task": lambda: task(("first", "second"), mutation),
            "relay": lambda: relay(mutation),
            "waker": lambda: busy_waker(("first", "second")),
        },
        shared=frozenset({"doorbell", "eventfd"}),
        final=nothing,
    )
