"""What a version left behind is taken up by the next one: rings, lanes and logs of killed processes, clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

import shmlog
from shmlog.memory import layout, names, region
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.model import TopicPartition
from shmlog.testing.partition_rig import open_rig
from tests.released import fixtures

LAYOUT = (1, 4, 0x71919D7AD4)
"""Major, minor, and the hash of the constants of `memory/layout`."""


@pytest.fixture(params=fixtures.versions())
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_layout_is_that_of_its_version() -> None:
    """If this fails, a cell has moved or is new, and processes of both layouts would misread each other: raise
    LAYOUT_MINOR, make fixtures of the new version (`python tests/released/fixtures.py`), and write both here."""
    assert (layout.LAYOUT_MAJOR, layout.LAYOUT_MINOR, layout.layout_hash()) == LAYOUT


def test_there_are_fixtures_of_the_version_that_this_is() -> None:
    assert f"{layout.LAYOUT_MAJOR}.{layout.LAYOUT_MINOR}" in fixtures.versions()


def test_a_partition_of_killed_processes_goes_on_with_everything_accepted(tmp_path: Path, version: str) -> None:
    directory = tmp_path / "flights-0"
    fixtures.restore(version, "log", directory)
    fixtures.restore_regions(version, names.cluster_tag("rig", str(directory)))
    with open_rig(directory, fixtures.LOG_CONFIG, epoch=1) as rig:
        rig.run()
        found = rig.values()
        assert found[: fixtures.PUBLISHED] == [fixtures.value_at(number) for number in range(fixtures.PUBLISHED)]
        assert found[fixtures.PUBLISHED :] == [
            fixtures.value_at(fixtures.PUBLISHED + number) for number in range(fixtures.ACCEPTED)
        ]
        rig.lanes_made = 2  # the ids of those that the fixture has
        rig.lane(producer_id=9).send_all(b"new")
        rig.run()
        assert rig.values()[-1] == b"new"


def test_what_a_follower_had_is_read(tmp_path: Path, version: str) -> None:
    if version == "1.0":
        return  # had no followers
    tag = names.cluster_tag("rig", str(tmp_path))
    fixtures.restore_regions(version, tag)
    try:
        follower = ReplicaRegion.open(names.replica(tag, 1, fixtures.FOLLOWER), 1)
        found = follower.leader_epoch, follower.written_offset, follower.synced_offset
        assert found == (0, fixtures.PUBLISHED, fixtures.PUBLISHED - 1)
    finally:
        region.sweep(tag)


def test_a_log_without_its_shared_memory_has_everything_published(tmp_path: Path, version: str) -> None:
    directory = tmp_path / "flights-0"
    fixtures.restore(version, "log", directory)
    with open_rig(directory, fixtures.LOG_CONFIG, epoch=1) as rig:
        assert rig.values() == [fixtures.value_at(number) for number in range(fixtures.PUBLISHED)]


@pytest.mark.slow
@pytest.mark.parametrize("how_it_ended", ["cluster", "clean"])
def test_a_cluster_has_its_topics_settings_and_records(tmp_path: Path, version: str, how_it_ended: str) -> None:
    fixtures.restore(version, how_it_ended, tmp_path)
    with shmlog.start(tmp_path) as cluster:
        assert cluster.admin.list_topics() == sorted(fixtures.TOPICS)
        for topic, partitions in fixtures.TOPICS.items():
            assert len(cluster.admin.describe_topic(topic).partitions) == partitions
            with cluster.consumer() as consumer:
                consumer.assign([TopicPartition(topic, 0)])
                found = consumer.poll(max_records=2 * fixtures.RECORDS, timeout=10.0)
            assert [record.value for record in found] == [fixtures.value_at(n) for n in range(fixtures.RECORDS)]
        assert cluster.admin.describe_topic("weather").config["segment.bytes"] == "2097152"
