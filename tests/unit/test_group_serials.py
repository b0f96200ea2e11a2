"""What the coordinator's side of a connection knows: what a member may be reading, and what may be said already."""

from __future__ import annotations

import pytest

from shmlog.errors import InvalidRequestError
from shmlog.machines.group.serials import Serials
from tests.group_trace import parts
from tests.simulation.groups_held import Held


def test_a_member_may_read_what_it_has_said_and_what_it_was_assigned_since() -> None:
    serials = Serials(parts(0))
    assert serials.assigned(parts(0, 1)) == 1
    assert serials.assigned(parts(0)) == 2
    assert serials.assigned(parts(0, 2)) == 3
    assert serials.owns(0, parts(0)) == parts(0, 1, 2)
    assert serials.owns(1, parts(0, 1)) == parts(0, 1, 2)
    assert serials.owns(2, parts(0)) == parts(0, 2)
    assert serials.owns(3, parts(2)) == parts(2)


def test_who_asks_for_something_else_may_still_follow_what_is_on_its_way() -> None:
    serials = Serials(parts())
    serials.assigned(parts(0))
    assert serials.joins_again(parts(3)) == parts(0, 3)
    serials.owns(1, parts(0))
    assert serials.joins_again(parts(0)) == parts(0)


def test_an_assignment_that_was_never_made_is_acknowledged_by_nobody() -> None:
    serials = Serials(parts())
    serials.assigned(parts(0))
    with pytest.raises(InvalidRequestError, match="followed assignment 2, and there were 1"):
        serials.owns(2, parts(0))


def test_what_is_held_goes_out_in_order_when_what_it_rests_on_is_durable() -> None:
    held = Held[str]()
    held.hold(5, "a")
    held.hold(5, "b")
    held.hold(9, "c")
    assert held.release(4) == []
    assert held.release(8) == ["a", "b"]
    assert len(held) == 1
    assert held.release(9) == ["c"]
    assert held.release(9) == []
