"""Nobody sleeps past news: who announces sleep and looks once more is woken; ringing is free while nobody sleeps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from shmlog.errors import ForkedHandleError, HandleClosedError
from shmlog.memory.layout import BELL_SIZE, BELL_SLEEPING
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.testing import wait_until

FOREVER_S = 60.0  # longer than any test waits: a sleeper that is not woken fails by the deadline of wait_until


@pytest.fixture
def region() -> Iterator[int]:
    fd = os.memfd_create("shmlog-test")
    try:
        os.posix_fallocate(fd, 0, BELL_SIZE)
        yield fd
    finally:
        os.close(fd)


def open_bell(region: int) -> Doorbell:
    return Doorbell(Mapping(region, BELL_SIZE, writable=True))


def says_that_it_sleeps(bell: Doorbell) -> bool:
    return bell.mapping.read(BELL_SLEEPING, 4) != bytes(4)


def sleeper(bell: Doorbell, outcomes: list[bool]) -> threading.Thread:
    """A thread that sleeps on `bell` until it is woken and then says so."""
    thread = threading.Thread(target=lambda: outcomes.append(bell.wait(bell.prepare(), FOREVER_S)))
    thread.start()
    return thread


def test_ringing_costs_nothing_while_nobody_sleeps(region: int) -> None:
    assert not open_bell(region).ring()


def test_news_between_the_last_look_and_sleep_is_not_lost(region: int) -> None:
    ours, theirs = open_bell(region), open_bell(region)
    ticket = ours.prepare()
    assert theirs.ring()
    assert ours.wait(ticket, FOREVER_S)


def test_a_sleeper_is_woken_by_another_mapping_of_the_region(region: int) -> None:
    ours, theirs = open_bell(region), open_bell(region)
    outcomes: list[bool] = []
    thread = sleeper(ours, outcomes)
    wait_until(theirs.ring)
    thread.join()
    assert outcomes == [True]
    assert not theirs.ring()


def test_a_sleeper_in_another_process_is_woken(region: int) -> None:
    bell = open_bell(region)
    child = os.fork()
    if child == 0:
        own = open_bell(region)
        os._exit(0 if own.wait(own.prepare(), FOREVER_S) else 1)
    wait_until(bell.ring)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_sleeper_that_nobody_wakes_says_so_when_its_time_is_over(region: int) -> None:
    bell = open_bell(region)
    assert not bell.wait(bell.prepare(), 0.001)
    assert not says_that_it_sleeps(bell)


def test_who_found_news_at_the_last_look_does_not_sleep_any_more(region: int) -> None:
    bell = open_bell(region)
    bell.prepare()
    assert says_that_it_sleeps(bell)
    bell.cancel()
    assert not says_that_it_sleeps(bell)
    assert not open_bell(region).ring()


def test_one_thread_that_leaves_does_not_take_the_other_threads_wake_up(region: int) -> None:
    bell = open_bell(region)
    outcomes: list[bool] = []
    bell.prepare()
    thread = sleeper(bell, outcomes)
    bell.cancel()
    wait_until(lambda: open_bell(region).ring() or not thread.is_alive())
    thread.join()
    assert outcomes == [True]


def test_one_ring_wakes_every_thread_that_sleeps(region: int) -> None:
    bell = open_bell(region)
    outcomes: list[bool] = []
    threads = [sleeper(bell, outcomes) for _ in range(3)]

    def all_awake() -> bool:
        open_bell(region).ring()
        return len(outcomes) == len(threads)

    wait_until(all_awake)
    for thread in threads:
        thread.join()
    assert outcomes == [True, True, True]


class InterruptingError(Exception):
    pass


def sleep_for_ever(bell: Doorbell) -> None:
    while True:  # a signal that comes just before a sleep is handled after it
        bell.wait(bell.prepare(), 0.5)


def test_a_signal_handler_that_raises_ends_the_sleep(region: int) -> None:
    bell = open_bell(region)
    is_over = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        if not is_over.is_set():
            is_over.set()
            raise InterruptingError

    def pester(main_thread: int) -> None:
        while not is_over.wait(0.005):
            if says_that_it_sleeps(bell):
                signal.pthread_kill(main_thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=pester, args=(threading.get_ident(),))
    thread.start()
    try:
        with pytest.raises(InterruptingError):
            sleep_for_ever(bell)
    finally:
        is_over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert not says_that_it_sleeps(bell)


def test_a_doorbell_needs_a_writable_region(region: int) -> None:
    with pytest.raises(ValueError, match="writable"):
        Doorbell(Mapping(region, BELL_SIZE))


def test_a_doorbell_after_close_raises(region: int) -> None:
    bell = open_bell(region)
    bell.close()
    with pytest.raises(HandleClosedError):
        bell.ring()
    with pytest.raises(HandleClosedError):
        bell.prepare()


def test_a_forked_child_cannot_ring_or_sleep_with_its_parents_doorbell(region: int) -> None:
    bell = open_bell(region)
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (bell.ring, bell.prepare):
            try:
                use()
            except ForkedHandleError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
