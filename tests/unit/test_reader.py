"""Reading one partition: ring while hot, segments when cold, and everything that can be replaced underneath."""

from __future__ import annotations

import pytest

from shmlog.errors import (
    CorruptRecordError,
    LeaderNotAvailableError,
    OffsetOutOfRangeError,
    StorageError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.partition import reader as reader_module
from shmlog.partition.reader import PartitionReader
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.testing.fake_partition import FakePartition, FakeSegments

CHUNK = 1 << 20


def reader_of(partition: FakePartition, position: int = 0) -> PartitionReader:
    return PartitionReader(TopicPartition("flights", 3), partition.attach, partition.segments, position)


def filled(batch_count: int = 10) -> FakePartition:
    """Two records a batch, whose values are their offsets."""
    partition = FakePartition()
    for number in range(batch_count):
        partition.append(b"%d" % (2 * number), b"%d" % (2 * number + 1), timestamp_ms=1000 + number)
    return partition


def read_all(reader: PartitionReader, max_bytes: int = CHUNK) -> list[int]:
    """Values as numbers, fetched until there is nothing."""
    found: list[int] = []
    while records := reader.fetch(max_bytes):
        found += [int(record.value) for record in records]
        assert [record.offset for record in records] == [int(record.value) for record in records]
    return found


def test_what_is_in_the_ring_is_read_from_the_ring() -> None:
    partition = filled()
    reader = reader_of(partition)
    assert read_all(reader) == list(range(20))
    assert (reader.position, reader.segment_chunks, partition.segment_reads) == (20, 0, 0)


def test_small_fetches_give_whole_batches_and_lose_nothing() -> None:
    reader = reader_of(filled())
    assert read_all(reader, max_bytes=1) == list(range(20))
    assert reader.ring_chunks == 10


def test_a_reader_that_begins_in_the_middle_of_a_batch_gets_no_earlier_record() -> None:
    assert read_all(reader_of(filled(), position=7)) == list(range(7, 20))


def test_records_that_come_later_are_found_without_another_look_at_the_files() -> None:
    partition = filled()
    reader = reader_of(partition)
    read_all(reader)
    assert not reader.has_data()
    partition.append(b"20")
    assert reader.has_data()
    assert read_all(reader) == [20]
    assert partition.segment_reads == 0


def test_what_the_ring_has_lost_is_read_from_the_segments_and_the_rest_from_the_ring() -> None:
    partition = filled()
    partition.overrun(10)
    reader = reader_of(partition)
    assert read_all(reader, max_bytes=1) == list(range(20))
    assert (reader.segment_chunks, reader.ring_chunks) == (5, 5)


def test_a_reader_that_was_overrun_comes_back_only_where_the_ring_is_hot() -> None:
    partition = filled()
    reader = reader_of(partition)
    assert [record.offset for record in reader.fetch(1)] == [0, 1]
    partition.overrun(6, hot_from=14)  # it stood in the ring, at 2, when the owner overwrote that
    assert read_all(reader, max_bytes=1) == list(range(2, 20))
    assert (reader.segment_chunks, reader.ring_chunks) == (6, 1 + 3)


def test_a_new_ring_generation_is_mapped_without_a_record_lost_or_doubled() -> None:
    partition = filled()
    reader = reader_of(partition)
    assert [record.offset for record in reader.fetch(1)] == [0, 1]
    partition.generation += 1
    partition.append(b"20")
    assert read_all(reader) == list(range(2, 21))
    assert partition.segment_reads == 0


def test_offsets_that_retention_deleted_are_out_of_range_and_the_message_says_what_is_there() -> None:
    partition = filled()
    partition.delete_before(8)
    reader = reader_of(partition, position=3)
    with pytest.raises(OffsetOutOfRangeError, match="offset 3 of flights-3 is not in the log, which has 8 to 20"):
        reader.fetch(CHUNK)
    assert reader.position == 3
    reader.seek(8)
    assert read_all(reader) == list(range(8, 20))


def test_an_offset_beyond_the_end_is_out_of_range_but_the_end_itself_is_not() -> None:
    partition = filled()
    assert reader_of(partition, position=20).fetch(CHUNK) == []
    with pytest.raises(OffsetOutOfRangeError, match="offset 21"):
        reader_of(partition, position=21).fetch(CHUNK)


def test_an_owner_that_is_still_recovering_makes_no_offset_out_of_range() -> None:
    partition = FakePartition()
    partition.page.state = OwnerState.STARTING
    reader = reader_of(partition, position=12)
    assert reader.fetch(CHUNK) == []
    assert not reader.ready
    with pytest.raises(LeaderNotAvailableError):
        reader.watermarks()


def test_a_partition_without_a_control_page_is_empty_until_there_is_one() -> None:
    partition = filled()
    partition.there = False
    reader = reader_of(partition)
    assert reader.fetch(CHUNK) == []
    partition.there = True
    assert read_all(reader) == list(range(20))


def test_the_end_of_a_deleted_topic_is_an_error_that_says_so() -> None:
    partition = filled()
    reader = reader_of(partition)
    read_all(reader)
    partition.page.state = OwnerState.DELETED
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        reader.fetch(CHUNK)


@pytest.mark.parametrize("last_state", [OwnerState.CLOSED, OwnerState.REPLACED])
def test_a_cluster_that_was_shut_down_and_started_again_is_followed(last_state: OwnerState) -> None:
    partition = filled()
    reader = reader_of(partition)
    assert read_all(reader) == list(range(20))
    old_page = partition.page
    partition.come_back_from_nothing()
    old_page.state = last_state
    partition.append(b"20")
    assert reader.fetch(CHUNK) == []  # the old page's news is that it is old
    assert read_all(reader) == [20]
    assert reader.attachments == 2


def test_a_cluster_that_was_killed_and_started_again_is_followed_once_somebody_looks() -> None:
    partition = filled()
    reader = reader_of(partition)
    read_all(reader)
    partition.come_back_from_nothing()  # the old page says RUN for ever
    partition.append(b"20")
    assert reader.fetch(CHUNK) == []
    reader.reattach_if_replaced()
    assert read_all(reader) == [20]


def test_what_is_known_of_the_segments_is_kept_in_the_ring_and_forgotten_with_the_attachment() -> None:
    """A log that was cut has other segments under the same names; but every cut comes with new regions."""
    partition = filled()
    opened: list[FakeSegments | None] = []

    def open_files(leader_epoch: int) -> FakeSegments | None:
        files = partition.segments(leader_epoch)
        opened.append(files)
        return files

    reader = PartitionReader(TopicPartition("flights", 3), partition.attach, open_files)
    for _ in range(2):
        partition.overrun(10)
        reader.seek(0)
        assert read_all(reader) == list(range(20))
    assert len(opened) == 1
    partition.come_back_from_nothing()
    reader.reattach_if_replaced()
    reader.seek(0)
    assert read_all(reader) == list(range(20))
    assert len(opened) == 2
    reader.close()


def test_control_batches_are_stepped_over() -> None:
    partition = filled(1)
    for offset in (2, 3):
        marker = Marker(MarkerType.COMMIT, 0)
        partition.append_batch(
            encode_marker(marker, base_offset=offset, producer_id=1, producer_epoch=0, timestamp_ms=0)
        )
    partition.append(b"4")
    assert read_all(reader_of(partition), max_bytes=1) == [0, 1, 4]


def test_a_corrupt_batch_is_never_given_out_and_can_be_stepped_over() -> None:
    partition = filled(3)
    damaged = bytearray(partition.batches[1])
    damaged[-1] ^= 1
    partition.batches[1] = bytes(damaged)
    reader = reader_of(partition)
    assert [record.offset for record in reader.fetch(1)] == [0, 1]
    for _ in range(2):
        with pytest.raises(CorruptRecordError, match="offset 2"):
            reader.fetch(1)
        assert reader.position == 2
    reader.seek(4)
    assert read_all(reader) == [4, 5]


def test_files_that_lack_what_is_written_are_an_error_only_when_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = filled()
    partition.overrun(20)
    partition.files_missing = True
    reader = reader_of(partition)
    assert reader.fetch(CHUNK) == []
    monkeypatch.setattr(reader_module, "GRACE_S", -1.0)
    with pytest.raises(StorageError, match="offset 0 of flights-3 is below the high watermark 20"):
        reader.fetch(CHUNK)


def test_offsets_are_found_by_time_below_the_high_watermark() -> None:
    partition = filled()
    reader = reader_of(partition)
    assert reader.offset_for_timestamp(1004) == OffsetAndTimestamp(8, 1004)
    assert reader.offset_for_timestamp(5000) is None
    assert reader.watermarks() == Watermarks(0, 20)
