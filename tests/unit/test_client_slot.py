"""Slots of a client region: positions, commit cells and polls of the members of groups, whole after every kill."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from shmlog.memory import layout, names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.memory.client_slot import LOOKS_MAX, CommittedCell, Slot, member_token, read_cell
from shmlog.native.mapping import Mapping
from shmlog.native.trace import SampleWriter

MINE, OTHER = member_token("delays", "a"), member_token("delays", "b")


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[tuple[ClientRegion, ClientRegion]]:
    """A client's own region, and the same one as others map it."""
    tag = names.cluster_tag("slots", str(tmp_path))
    create_client_region(names.client(tag, 5), client_id=5, mode=0o600)
    own, seen = ClientRegion.open(names.client(tag, 5)), ClientRegion.open(names.client(tag, 5), writable=False)
    yield own, seen
    region.sweep(tag)


Clients = tuple[ClientRegion, ClientRegion]


def test_a_cell_has_the_last_commit_and_the_epoch_of_the_record_before_it(clients: Clients) -> None:
    own, seen = clients
    slot = own.claim_slot(3, MINE)
    for offset in range(5):
        slot.commit(offset * 2**40, offset)
        assert seen.cells(MINE) == {3: CommittedCell(offset * 2**40, offset)}
    slot.commit(7, -1)
    assert seen.cells(MINE) == {3: CommittedCell(7, -1)}


def test_cells_are_found_by_their_member_alone(clients: Clients) -> None:
    own, seen = clients
    for partition_id, token in ((0, MINE), (1, OTHER), (2, MINE), (3, 0)):
        own.claim_slot(partition_id, token).commit(10 + partition_id, 0)
    assert seen.cells(MINE) == {0: (10, 0), 2: (12, 0)}
    assert seen.cells(OTHER) == {1: (11, 0)}
    assert read_cell(seen.mapping, layout.CLIENT_SLOTS, OTHER) is None  # it was another's by the time it was looked at


def test_a_slot_without_a_commit_has_no_cell(clients: Clients) -> None:
    own, seen = clients
    own.claim_slot(3, MINE).store_position(17)
    assert seen.cells(MINE) == {}
    assert seen.positions() == [(3, 17)]


def test_what_was_committed_in_a_slot_before_it_was_given_back_is_not_of_its_next_partition(clients: Clients) -> None:
    own, seen = clients
    for commits in (1, 2):  # the last one in either pair
        slot = own.claim_slot(3, MINE)
        for offset in range(commits):
            slot.commit(offset, 0)
        slot.release()
        again = own.claim_slot(4, MINE)
        assert seen.cells(MINE) == {}
        again.release()


def test_a_late_commit_in_a_slot_that_was_given_back_is_found_by_nobody(clients: Clients) -> None:
    own, seen = clients
    late = own.claim_slot(3, MINE)
    late.commit(5, 0)
    late.release()
    late.commit(6, 0)
    assert seen.cells(MINE) == {}


def test_a_member_shows_when_it_polled_last_and_that_is_no_position(clients: Clients) -> None:
    own, seen = clients
    assert seen.last_poll(MINE) is None
    member, slot = own.claim_member_slot(MINE), own.claim_slot(3, MINE)
    slot.store_position(17)
    member.note_poll(2**50)
    assert seen.last_poll(MINE) == 2**50
    assert seen.last_poll(OTHER) is None
    assert seen.positions() == [(3, 17)]
    assert seen.cells(MINE) == {}
    member.release()
    assert seen.last_poll(MINE) is None


def test_tokens_tell_groups_and_members_apart(clients: Clients) -> None:
    tokens = {member_token(group, member) for group in ("a", "ab", "") for member in ("b", "", "ab")}
    assert len(tokens) == 9
    assert 0 not in tokens


def test_nonsense_in_a_cell_is_no_commit(clients: Clients) -> None:
    own, seen = clients
    slot = own.claim_slot(3, MINE)
    slot.commit(2**63, 0)
    assert seen.cells(MINE) == {}
    slot.commit(5, 2**40)
    assert seen.cells(MINE) == {3: (5, -1)}


# --- kills and races --------------------------------------------------------------------------------------------------


STORES = 2 * (5 + 3 * 3 + 1)
"""Of a_life()."""


class Killed(Exception):  # noqa: N818 - what ends the process in these tests
    """Instead of the next store."""


class KilledMapping:
    """Stands for a Mapping whose process is killed before its store number `stores_left` + 1."""

    def __init__(self, mapping: Mapping, stores_left: int) -> None:
        self._mapping = mapping
        self._stores_left = stores_left
        self.load = mapping.load

    def store(self, offset: int, value: int) -> None:
        if self._stores_left == 0:
            raise Killed
        self._stores_left -= 1
        self._mapping.store(offset, value)


def a_life(own: ClientRegion, mapping: Mapping) -> Iterator[dict[int, tuple[int, int]]]:
    """Steps of a member in the region's first slot: what may be found from now on, should the next step be killed."""
    at = layout.CLIENT_SLOTS
    trace = SampleWriter(own.mapping, layout.CLIENT_TRACE)
    yield {}
    for partition_id in (3, 4):
        slot = Slot(mapping, at, partition_id, MINE, trace)
        yield {}
        for offset in (10, 11, 12):
            slot.commit(offset, offset + 20)
            yield {partition_id: (offset, offset + 20)}
        slot.release()
        yield {}


def test_a_kill_between_any_two_stores_leaves_the_commit_before_or_the_new_one(clients: Clients) -> None:
    own, seen = clients
    for stores in range(STORES + 1):
        own.mapping.write(layout.CLIENT_SLOTS, bytes(layout.CLIENT_SLOT_BYTES))
        state: dict[int, tuple[int, int]] = {}
        mapping: Any = KilledMapping(own.mapping, stores)
        with pytest.raises(Killed) if stores < STORES else nullcontext():
            for state in a_life(own, mapping):
                assert seen.cells(MINE) == state
        assert seen.cells(MINE) == state, f"killed after {stores} stores"


def test_who_reads_while_a_member_commits_gets_whole_commits_that_never_go_back(clients: Clients) -> None:
    own, seen = clients
    slot = own.claim_slot(3, MINE)
    slot.commit(0, 0)
    over = threading.Event()

    def commit() -> None:
        for offset in range(1, 20_000):
            slot.commit(offset, offset)
        over.set()

    member = threading.Thread(target=commit)
    member.start()
    last = 0
    while not over.is_set():
        cell = seen.cells(MINE)[3]
        assert cell.offset == cell.leader_epoch
        assert cell.offset >= last
        last = cell.offset
    member.join()
    assert seen.cells(MINE) == {3: (19_999, 19_999)}


class RestlessMapping:
    """Stands for a Mapping in which somebody counts commits for ever."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self.looks = 0

    def load(self, offset: int) -> int:
        if offset == layout.CLIENT_SLOTS + layout.SLOT_COMMITS:
            self.looks += 1
            return self.looks
        return self._mapping.load(offset)


def test_a_cell_that_never_rests_holds_nobody_up(clients: Clients) -> None:
    own, _ = clients
    own.claim_slot(3, MINE).commit(5, 0)
    restless: Any = RestlessMapping(own.mapping)
    assert read_cell(restless, layout.CLIENT_SLOTS, MINE) is None
    assert restless.looks == 2 * LOOKS_MAX
