"""Where two logs part, told by their epochs: never behind what they share, and never in front of what nobody lost."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from shmlog.log.checkpoint import EpochStart
from shmlog.log.leader_epochs import agreed_end, epochs_in, shared_epochs
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.header import BatchHeader

Log = list[int]
"""The epoch of each record. Records are the same wherever epoch and offset are."""


def starts(*pairs: tuple[int, int]) -> list[EpochStart]:
    return [EpochStart(epoch, start) for epoch, start in pairs]


def epochs_of(log: Log) -> list[EpochStart]:
    return [EpochStart(epoch, offset) for offset, epoch in enumerate(log) if offset == 0 or log[offset - 1] != epoch]


@pytest.mark.parametrize(
    ("mine", "my_end", "leaders", "leader_end", "agreed"),
    [
        pytest.param(starts((0, 0)), 10, starts((0, 0)), 12, 10, id="lagging"),
        pytest.param(starts((0, 0)), 10, starts((0, 0), (1, 7)), 7, 7, id="the leader lost its tail"),
        pytest.param(starts((0, 0), (1, 7)), 9, starts((0, 0), (2, 8)), 20, 7, id="an epoch that the leader never had"),
        pytest.param(starts((0, 0), (2, 8)), 9, starts((0, 0), (1, 5), (3, 6)), 20, 5, id="KIP-279: both went on"),
        pytest.param(starts((0, 0), (1, 10)), 10, starts((0, 0), (2, 10)), 15, 10, id="an epoch without records"),
        pytest.param([], 0, starts((0, 0)), 5, 0, id="nothing yet"),
        pytest.param(starts((4, 0)), 5, starts((7, 0)), 9, 0, id="nothing in common"),
    ],
)
def test_two_logs_agree_up_to_the_end_of_the_last_epoch_that_both_have(
    mine: list[EpochStart], my_end: int, leaders: list[EpochStart], leader_end: int, agreed: int
) -> None:
    assert agreed_end(mine, my_end, leaders, leader_end) == agreed


@given(st.data())
def test_after_cuts_and_new_leaders_the_agreed_part_is_all_that_two_replicas_share(data: st.DataObject) -> None:
    """Two replicas take turns at leading; the other one follows to some offset; either may lose its tail."""
    logs: list[Log] = [[], []]
    for epoch in range(data.draw(st.integers(1, 6))):
        leader, follower = data.draw(st.permutations(logs))
        cut = data.draw(st.integers(0, len(leader)))
        del leader[cut:]
        end = agreed_end(epochs_of(follower), len(follower), [*epochs_of(leader), EpochStart(epoch, cut)], cut)
        assert follower[:end] == leader[:end], "what is left of the follower is a beginning of its leader's log"
        shared = next((k for k, (a, b) in enumerate(zip(leader, follower, strict=False)) if a != b), None)
        assert end == (min(len(leader), len(follower)) if shared is None else shared)
        del follower[end:]
        leader += [epoch] * data.draw(st.integers(0, 3))
        follower += leader[end : data.draw(st.integers(end, len(leader)))]


def test_a_beginning_of_a_log_has_the_epochs_that_begin_in_it() -> None:
    leaders = starts((0, 0), (3, 5), (4, 9))
    assert shared_epochs(leaders, 4) == starts((0, 0))
    assert shared_epochs(leaders, 5) == starts((0, 0), (3, 5))
    assert shared_epochs(leaders, 100) == leaders


def test_batches_say_what_a_lost_checkpoint_said() -> None:
    batches = [
        encode_batch([NewRecord(b"v")], base_offset=offset, leader_epoch=epoch)
        for offset, epoch in enumerate([0, 0, 2, 2, 5])
    ]
    assert epochs_in(BatchHeader.parse(batch) for batch in batches) == starts((0, 0), (2, 2), (5, 4))
