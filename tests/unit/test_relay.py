"""The thread that passes rings on to event loops."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from shmlog.errors import InvalidRequestError
from shmlog.memory import names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.native.doorbell import Doorbell
from shmlog.native.relay import BellRelay
from shmlog.testing import wait_until
from shmlog.testing.own_process import threads

SLEEP_S = 60.0  # so long that no test passes because the thread looked around by itself


@pytest.fixture
def doorbell() -> Iterator[Doorbell]:
    tag = names.cluster_tag("relay", str(os.getpid()))
    create_client_region(names.client(tag, 1), client_id=1, mode=0o600)
    opened = ClientRegion.open(names.client(tag, 1))
    assert opened.doorbell is not None
    yield opened.doorbell
    opened.close()
    region.sweep(tag)


@contextmanager
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield fd
    os.close(fd)


def has_been_written(fd: int) -> bool:
    with suppress(BlockingIOError):
        return os.eventfd_read(fd) > 0
    return False


def test_a_ring_makes_the_eventfd_of_every_armed_loop_readable_and_of_no_other(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as armed, eventfd() as too, eventfd() as idle:
        places = [relay.listen(fd) for fd in (armed, too, idle)]
        for place in places[:2]:
            relay.arm(place, doorbell.prepare())
        doorbell.ring()
        wait_until(lambda: has_been_written(armed))
        wait_until(lambda: has_been_written(too))
        assert not has_been_written(idle)
        relay.close()
    for _ in places[:2]:
        doorbell.cancel()


def test_every_ring_after_prepare_arrives_however_soon_it_comes(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as fd:
        place = relay.listen(fd)
        for _ in range(300):
            ticket = doorbell.prepare()
            doorbell.ring()
            relay.arm(place, ticket)
            wait_until(lambda: has_been_written(fd))
            relay.disarm(place)
            doorbell.cancel()
        relay.close()


def test_rings_for_other_sleepers_park_the_thread_and_a_later_wait_still_works(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as fd:
        place = relay.listen(fd)
        for _ in range(50):
            relay.arm(place, doorbell.prepare())
            relay.disarm(place)
            doorbell.ring()  # nobody's: the thread hears it and parks
            doorbell.cancel()
        ticket = doorbell.prepare()
        relay.arm(place, ticket)
        has_been_written(fd)
        doorbell.ring()
        wait_until(lambda: has_been_written(fd))
        doorbell.cancel()
        relay.close()


def test_the_thread_ends_with_close_and_with_the_last_reference(doorbell: Doorbell) -> None:
    before = threads()
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as fd:
        relay.arm(relay.listen(fd), doorbell.prepare())
        assert len(threads() - before) == 1
        relay.close()
        assert not threads() - before
        relay.close()
        relay.arm(0, 0)
        other = BellRelay(doorbell, SLEEP_S)
        assert len(threads() - before) == 1
        del other
        assert not threads() - before
        doorbell.cancel()


def test_the_collector_of_cycles_ends_the_thread_before_it_unmaps_the_doorbell() -> None:
    """Regression: the thread read memory that was gone."""
    tag = names.cluster_tag("cycle", str(os.getpid()))
    create_client_region(names.client(tag, 1), client_id=1, mode=0o600)
    gc.collect()
    before = threads()
    with eventfd() as fd:
        for _ in range(20):
            doorbell = ClientRegion.open(names.client(tag, 1)).doorbell
            assert doorbell is not None
            cycle: list[object] = [doorbell, BellRelay(doorbell, SLEEP_S)]
            assert isinstance(cycle[1], BellRelay)
            cycle[1].arm(cycle[1].listen(fd), doorbell.prepare())
            cycle.append(cycle)
            del doorbell, cycle
            gc.collect()
    assert not threads() - before
    region.sweep(tag)


def test_an_eventfd_that_left_is_not_written_any_more(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as gone, eventfd() as stays:
        place, other = relay.listen(gone), relay.listen(stays)
        for at in (place, other):
            relay.arm(at, doorbell.prepare())
        relay.leave(place)
        doorbell.ring()
        wait_until(lambda: has_been_written(stays))
        assert not has_been_written(gone)
        assert relay.listen(gone) == place
        relay.close()
    doorbell.cancel()
    doorbell.cancel()


def test_there_is_a_last_place_and_the_error_says_what_to_do(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as fd:
        assert [relay.listen(fd) for _ in range(256)] == list(range(256))
        with pytest.raises(InvalidRequestError, match="256 event loops .* connect a second time"):
            relay.listen(fd)
    relay.close()


def test_a_forked_child_has_no_thread_and_nothing_there_blocks(doorbell: Doorbell) -> None:
    relay = BellRelay(doorbell, SLEEP_S)
    with eventfd() as fd:
        place = relay.listen(fd)
        relay.arm(place, doorbell.prepare())
        child = os.fork()
        if child == 0:
            relay.disarm(place)
            relay.leave(place)
            relay.close()
            del relay
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        doorbell.ring()
        wait_until(lambda: has_been_written(fd))
        doorbell.cancel()
        relay.close()
