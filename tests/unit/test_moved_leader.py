"""Readers of files follow a leader that moves to another directory, and ask where that is only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.client.connection import Connection
from shmlog.client.log_locations import LogLocations
from shmlog.control.messages import DescribeTopics, PartitionDescription, TopicsDescribed
from shmlog.errors import LeaderNotAvailableError, UnknownTopicOrPartitionError
from shmlog.log.checkpoint import EpochStart, write_leader_epochs
from shmlog.log.storage import OsStorage
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp, TopicPartition
from shmlog.partition.reader import PartitionReader
from shmlog.testing.fake_cluster import FakeCluster
from shmlog.testing.fake_partition import FakePartition

CHUNK = 1 << 20
P0 = TopicPartition("flights", 0)


def lagging(batch_count: int = 10) -> tuple[FakePartition, PartitionReader]:
    """One record a batch; the ring has the last one only."""
    partition = FakePartition()
    for number in range(batch_count):
        partition.append(b"%d" % number, timestamp_ms=number)
    partition.overrun(batch_count - 1)
    return partition, PartitionReader(P0, partition.attach, partition.segments)


# --- the reader -------------------------------------------------------------------------------------------------------


def test_files_are_opened_again_before_the_next_cold_read_under_another_leader_epoch() -> None:
    partition, reader = lagging()
    assert [record.offset for record in reader.fetch(1)] == [0]
    assert [record.offset for record in reader.fetch(1)] == [1]
    assert partition.opened_under == [0]
    partition.page.leader_epoch = 3
    assert [record.offset for record in reader.fetch(1)] == [2]
    assert partition.opened_under == [0, 3]


def test_a_reader_of_the_ring_never_asks_where_the_files_are() -> None:
    partition, reader = lagging()
    partition.overrun(0)
    reader.fetch(1)
    partition.page.leader_epoch = 3
    assert len(reader.fetch(CHUNK)) == 9
    assert partition.opened_under == []


def test_a_reader_that_nobody_tells_where_the_files_are_pauses_and_goes_on_where_it_was() -> None:
    partition, reader = lagging()
    reader.fetch(1)
    partition.page.leader_epoch, partition.located_epoch = 3, 2
    assert reader.has_data()
    assert reader.fetch(1) == []
    assert not reader.has_data()  # or its consumer would ask without a pause
    partition.located_epoch = 3
    assert [record.offset for record in reader.fetch(1)] == [1]
    assert reader.has_data()


def test_a_search_by_time_without_files_to_search_can_be_repeated() -> None:
    partition, reader = lagging()
    partition.page.leader_epoch, partition.located_epoch = 3, 2
    with pytest.raises(LeaderNotAvailableError, match="flights-0 has another leader, and the supervisor has not said"):
        reader.offset_for_timestamp(4)
    partition.located_epoch = 3
    assert reader.offset_for_timestamp(4) == OffsetAndTimestamp(4, 4)


def test_files_that_lack_something_make_a_reader_look_whether_its_page_is_of_the_past() -> None:
    partition, reader = lagging()
    reader.fetch(1)
    partition.files_missing = True
    assert reader.fetch(1) == []
    assert reader.attachments == 1
    partition.come_back_from_nothing()  # a leader that was killed leaves a page that says RUN for ever
    assert reader.fetch(1) == []
    partition.files_missing = False
    assert [record.offset for record in reader.fetch(1)] == [1]
    assert reader.attachments == 2


# --- where they are ---------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[FakeCluster]:
    with FakeCluster() as world:
        yield world


def described(connection: Connection) -> list[PartitionDescription]:
    return connection.request(DescribeTopics(0, ["flights"]), TopicsDescribed).topics[0].partitions


def asked(world: FakeCluster) -> int:
    return sum(1 for message in world.supervisor.received if isinstance(message, DescribeTopics))


def test_one_question_tells_where_all_partitions_of_a_topic_have_gone(world: FakeCluster) -> None:
    first, second, _ = described(world.connection)
    locations = LogLocations(world.connection)
    openers = [locations.opener("flights", found) for found in (first, second)]
    before = asked(world)
    for opener in openers:
        opened = opener(0)
        assert opened is not None
        assert opened.directory == "/nowhere"
    assert asked(world) == before
    for number in range(2):
        world.supervisor.leaders[TopicPartition("flights", number)] = (4, f"/disk2/flights-{number}")
    for number, opener in enumerate(openers):
        opened = opener(4)
        assert opened is not None
        assert opened.directory == f"/disk2/flights-{number}"
    assert asked(world) == before + 1


def test_an_answer_of_before_the_change_is_not_taken_for_the_place(world: FakeCluster) -> None:
    opener = LogLocations(world.connection).opener("flights", described(world.connection)[0])
    world.supervisor.leaders[P0] = (3, "/disk2/flights-0")
    assert opener(4) is None
    world.supervisor.leaders[P0] = (5, "/disk3/flights-0")  # the next leader is named before its owner shows itself
    opened = opener(4)
    assert opened is not None
    assert opened.directory == "/disk3/flights-0"


def test_without_a_supervisor_a_directory_that_has_the_epoch_will_do(world: FakeCluster, tmp_path: Path) -> None:
    world.supervisor.leaders[P0] = (1, str(tmp_path))
    opener = LogLocations(world.connection).opener("flights", described(world.connection)[0])
    world.supervisor.silent_on = (DescribeTopics,)
    assert opener(2) is None
    write_leader_epochs(OsStorage(), str(tmp_path), [EpochStart(1, 0), EpochStart(2, 7)])
    opened = opener(2)
    assert opened is not None
    assert opened.directory == str(tmp_path)


def test_a_topic_that_is_gone_is_said_to_be(world: FakeCluster) -> None:
    opener = LogLocations(world.connection).opener("flights", described(world.connection)[0])
    del world.supervisor.topics["flights"]
    with pytest.raises(UnknownTopicOrPartitionError, match="flights"):
        opener(1)


def test_a_deleted_topic_ends_a_reader_whose_files_nobody_knows() -> None:
    partition, reader = lagging()
    reader.fetch(1)
    partition.page.leader_epoch, partition.located_epoch = 3, 2
    partition.page.state = OwnerState.DELETED
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        reader.fetch(1)
