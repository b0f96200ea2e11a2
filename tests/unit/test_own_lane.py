"""What an owner writes itself: published like everything else, and gone with the owner if it was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.errors import StorageError
from shmlog.memory import layout, region
from shmlog.partition.own_lane import OwnLane
from shmlog.record.batch import NewRecord
from shmlog.testing.partition_rig import Rig, open_rig


def own_lane(rig: Rig) -> OwnLane:
    return OwnLane(rig.spec, rig.control, rig.publisher, rig.opened.config.max_message_bytes)


def records(*values: bytes) -> list[NewRecord]:
    return [NewRecord(value, key=b"k", timestamp_ms=1_700_000_000_000 + number) for number, value in enumerate(values)]


def test_batches_of_an_owner_are_published_whole_and_in_order_among_those_of_producers(tmp_path: Path) -> None:
    with open_rig(tmp_path / "log") as rig:
        lane = own_lane(rig)
        assert lane.append(records(b"a", b"b"))
        assert lane.unpublished == 1
        rig.run()
        assert (lane.unpublished, lane.published_offset) == (0, 2)
        theirs = rig.lane()
        theirs.send_all(b"c")
        rig.run()
        assert lane.append(records(b"d"))
        rig.run()
        assert lane.published_offset == 4
        found = rig.read_all()
        assert [record.value for record in found] == [b"a", b"b", b"c", b"d"]
        assert [record.timestamp_ms for record in found][:2] == [1_700_000_000_000, 1_700_000_000_001]
        assert found[0].key == b"k"
        assert [header.record_count for header in rig.opened.log.headers()] == [2, 1, 1]


def test_tombstones_are_written_as_such(tmp_path: Path) -> None:
    with open_rig(tmp_path / "log") as rig:
        lane = own_lane(rig)
        lane.append([NewRecord(None, key=b"gone", timestamp_ms=1)])
        rig.run()
        (found,) = rig.read_all()
        assert (found.key, found.value) == (b"gone", None)


def test_a_lane_that_is_full_takes_nothing_until_something_was_published(tmp_path: Path) -> None:
    with open_rig(tmp_path / "log") as rig:
        lane = own_lane(rig)
        value = bytes(300_000)
        taken = 0
        for _ in range(3):  # more than once round
            appended = 0
            while lane.append(records(value)):
                appended += 1
            assert appended > 2
            taken += appended
            rig.run()
            assert lane.published_offset == taken
        assert rig.values() == [value] * taken


def test_a_batch_that_no_partition_takes_is_refused_before_it_is_in_the_lane(tmp_path: Path) -> None:
    with open_rig(tmp_path / "log", {"max.message.bytes": "2000"}) as rig:
        lane = own_lane(rig)
        with pytest.raises(StorageError, match=r"max\.message\.bytes, 2000"):
            lane.append(records(bytes(2000)))
        assert lane.unpublished == 0


def test_nothing_is_left_of_an_owners_lane_but_what_was_published(tmp_path: Path) -> None:
    with open_rig(tmp_path / "log") as rig:
        lane = own_lane(rig)
        lane.append(records(b"published"))
        rig.run()
        lane.append(records(b"never was"))
        regions = [name for name, _ in region.list_regions(rig.tag) if ".l" in name]
        assert not regions, "it has no name"
        rig.take_over(1)
        assert not rig.control.lanes(), "the slot is free again"
        lane = own_lane(rig)
        lane.append(records(b"next"))
        rig.run()
        assert rig.values() == [b"published", b"next"]
        assert rig.control.mapping.load(layout.CTL_STATE) == layout.OwnerState.RUN
