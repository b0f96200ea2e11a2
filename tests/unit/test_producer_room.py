"""A producer whose lane is full goes on as soon as there is room, whichever of its threads made it."""

from __future__ import annotations

import threading

import pytest

from shmlog.client.lane_succession import LaneSuccession
from shmlog.native.lane import LaneWriter
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import RigConnection, producer_of


def test_a_thread_that_is_about_to_wait_for_room_sees_what_another_one_reclaimed(
    rig: Rig, connection: RigConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it looked only whether it freed something itself, and slept beside an empty lane."""
    enlarge = LaneSuccession.enlarge
    reclaimed: list[int] = []

    def while_others_reclaim(succession: LaneSuccession, lane: LaneWriter) -> bool:
        if enlarge(succession, lane):
            return True
        rig.run()
        other = threading.Thread(target=lambda: reclaimed.append(lane.reclaim()))
        other.start()
        other.join()
        return False

    monkeypatch.setattr(LaneSuccession, "enlarge", while_others_reclaim)
    producer = producer_of(connection)
    values = [b"%d." % number + bytes(1000) for number in range(1000)]
    producer.send_many(TOPIC_NAME, values)
    rig.run()
    assert rig.values() == values
    assert len(reclaimed) > 1
    assert all(reclaimed)
