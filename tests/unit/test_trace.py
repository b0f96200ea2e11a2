"""Records that are followed: the owner's samples, the notes of readers, and when both are left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.memory import layout, names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.native.trace import SampleReader, SampleWriter
from shmlog.testing.fake_cluster import P0, FakeCluster
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig

MINUTE_NS = 60_000_000_000
EVERY_NS = 1  # samples may follow each other at once
SELDOM_NS = 1_000_000_000


@pytest.fixture
def lane(rig: Rig) -> Lane:
    return rig.lane()


@pytest.fixture
def samples(rig: Rig) -> SampleReader:
    return SampleReader(rig.control.mapping, layout.CTL_TRACE)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ClientRegion]:
    tag = names.cluster_tag("trace", str(tmp_path))
    create_client_region(names.client(tag, 1), client_id=1, mode=0o600)
    opened = ClientRegion.open(names.client(tag, 1))
    yield opened
    opened.close()
    region.sweep(tag)


def follow(rig: Rig, interval_ns: int = EVERY_NS) -> None:
    rig.publisher.trace(monotonic_ns() + MINUTE_NS, interval_ns)


def offsets(words: Sequence[tuple[int, ...]]) -> list[int]:
    return [sample[0] for sample in words]


# --- the owner --------------------------------------------------------------------------------------------------------


def test_a_record_is_followed_in_the_order_of_its_way(rig: Rig, lane: Lane, samples: SampleReader) -> None:
    before = monotonic_ns()
    follow(rig)
    lane.send_all(b"a", b"b", b"c")
    rig.run()
    ((offset, begun, taken, published, written, visible, size),) = samples.take()
    assert (offset, size >> 32) == (0, 3)
    assert size & 0xFFFFFFFF == len(b"abc") + 3 * 7 + 61
    assert before < begun < taken < published < written <= visible < monotonic_ns()


def test_nothing_is_noted_while_nobody_asks(rig: Rig, lane: Lane, samples: SampleReader) -> None:
    lane.send_all(b"a")
    rig.run()
    assert samples.take() == []
    assert rig.control.trace_stride == 0


def test_following_ends_by_itself(rig: Rig, lane: Lane, samples: SampleReader) -> None:
    rig.publisher.trace(monotonic_ns() - 1, EVERY_NS)
    assert rig.control.trace_stride == 1
    lane.send_all(b"a")
    rig.run()
    assert samples.take() == []
    assert rig.control.trace_stride == 0
    assert rig.control.mapping.load(layout.CTL_TRACE_UNTIL_NS) == 0


def test_following_ends_without_a_record_too(rig: Rig) -> None:
    until = monotonic_ns() + MINUTE_NS
    rig.publisher.trace(until, EVERY_NS)
    rig.publisher.stop_trace(until - 1)
    assert rig.control.trace_stride == 1
    rig.publisher.stop_trace(until)
    assert rig.control.trace_stride == 0


def test_a_sample_waits_for_the_sync_that_makes_its_record_visible(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "flush.messages": "1"}) as rig:
        samples, lane = SampleReader(rig.control.mapping, layout.CTL_TRACE), rig.lane()
        follow(rig)
        lane.send_all(b"a")
        rig.publisher.run(0)
        assert rig.publisher.written_offset == 1
        assert samples.take() == []
        between = monotonic_ns()
        rig.keeper.sync()
        ((_, _, _, _, written, visible, _),) = samples.take()
        assert written < between < visible


def test_records_are_followed_less_often_where_there_are_many(rig: Rig, lane: Lane, samples: SampleReader) -> None:
    follow(rig, SELDOM_NS)
    for _ in range(200):
        lane.send_all(b"a")
        rig.run()
    stride = rig.control.trace_stride
    assert stride >= 4
    seen = offsets(samples.take())
    assert all(offset % 4 == 0 for offset in seen if offset > 48 + 16 * 2)
    assert len(seen) < 100
    follow(rig, EVERY_NS)  # so fast that the last sample is long ago: as if the partition had fallen silent
    assert rig.control.trace_stride == 1


def test_asking_again_prolongs_and_leaves_the_stride_alone(rig: Rig, lane: Lane) -> None:
    follow(rig, SELDOM_NS)
    for _ in range(40):
        lane.send_all(b"a")
        rig.run()
    stride = rig.control.trace_stride
    assert stride > 1
    until = monotonic_ns() + 2 * MINUTE_NS
    rig.publisher.trace(until, SELDOM_NS)
    assert rig.control.trace_stride == stride
    assert rig.control.mapping.load(layout.CTL_TRACE_UNTIL_NS) == until


def test_a_successor_goes_on_following(rig: Rig, lane: Lane, samples: SampleReader) -> None:
    follow(rig)
    lane.send_all(b"a")
    rig.run()
    rig.take_over(1)
    lane.send_all(b"b")
    rig.run()
    assert offsets(samples.take()) == [0, 1]
    assert samples.lost == 0


def test_a_successor_does_not_begin_what_is_over(rig: Rig) -> None:
    rig.publisher.trace(monotonic_ns() - 1, EVERY_NS)
    rig.take_over(1)
    assert rig.control.trace_stride == 0


# --- the ring of samples ----------------------------------------------------------------------------------------------


def test_samples_that_were_overwritten_are_counted(client: ClientRegion) -> None:
    writer, reader = (kind(client.mapping, layout.CLIENT_TRACE) for kind in (SampleWriter, SampleReader))
    assert isinstance(writer, SampleWriter)
    assert isinstance(reader, SampleReader)
    count = layout.TRACE_ENTRIES + 3
    for number in range(count):
        writer.put(number, 0, 0, 0)
    taken = offsets(reader.take())
    assert reader.lost + len(taken) == count
    assert taken[-1] == count - 1
    assert taken == sorted(taken)
    assert reader.take() == []
    writer.put(9, 8, 7, 6)
    assert reader.take() == [(9, 8, 7, 6, 0, 0, 0)]


def test_a_reader_begins_with_what_comes_after_it(client: ClientRegion) -> None:
    SampleWriter(client.mapping, layout.CLIENT_TRACE).put(1, 1, 1, 1)
    reader = SampleReader(client.mapping, layout.CLIENT_TRACE)
    assert reader.take() == []
    SampleWriter(client.mapping, layout.CLIENT_TRACE).put(2, 2, 2, 2)  # goes on behind the other writer's
    assert offsets(reader.take()) == [2]


def test_numbers_that_a_hostile_client_makes_up_end_no_loop_and_read_nothing_else(client: ClientRegion) -> None:
    reader = SampleReader(client.mapping, layout.CLIENT_TRACE)
    for place in range(layout.TRACE_ENTRIES):
        client.mapping.store(layout.CLIENT_TRACE + place * layout.TRACE_ENTRY_BYTES, 2**64 - 1 - place)
    assert len(reader.take()) <= layout.TRACE_ENTRIES


def test_samples_lie_inside_their_region(client: ClientRegion) -> None:
    with pytest.raises(IndexError):
        SampleReader(client.mapping, layout.CLIENT_SIZE - layout.TRACE_ENTRY_BYTES)
    with pytest.raises(IndexError):
        SampleWriter(client.mapping, layout.CLIENT_SIZE)


# --- readers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "end", "noted"), [(0, 1, True), (1, 8, False), (1, 9, True), (8, 9, True), (9, 16, False), (9, 90, True)]
)
def test_a_reader_notes_what_holds_a_traced_record(client: ClientRegion, first: int, end: int, noted: bool) -> None:
    slot = client.claim_slot(5)
    reader = SampleReader(client.mapping, layout.CLIENT_TRACE)
    before = monotonic_ns()
    slot.note_read(8, first, end)
    found = reader.take()
    assert [sample[:3] for sample in found] == [(5, first, end)] * noted
    assert all(before <= sample[3] <= monotonic_ns() for sample in found)


def test_a_consumer_notes_what_it_reads_while_records_are_followed(world: FakeCluster) -> None:
    world.fill(10)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        noted = SampleReader(world.connection.region.mapping, layout.CLIENT_TRACE)
        consumer.assign([P0])
        assert len(list(consumer)) == 10
        assert noted.take() == []
        world.partitions[P0].page.trace_stride = 4
        world.fill(20)
        assert len(list(consumer)) == 10
        assert [sample[1:3] for sample in noted.take()] == [(10, 20)]


def test_a_consumer_that_reads_files_notes_that_too(world: FakeCluster) -> None:
    world.fill(10)
    fake = world.partitions[P0]
    fake.page.trace_stride = 1
    fake.ring_from = fake.hot_from = 10
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        noted = SampleReader(world.connection.region.mapping, layout.CLIENT_TRACE)
        consumer.assign([P0])
        assert len(list(consumer)) == 10
        assert [sample[1:3] for sample in noted.take()] == [(0, 10)]
        assert fake.segment_reads


def test_the_ring_says_to_its_reader_whether_records_are_followed(rig: Rig, lane: Lane) -> None:
    reader = rig.reader()
    lane.send_all(b"a")
    rig.run()
    assert len(reader.fetch(1 << 20)) == 1
    assert reader.trace_stride == 0
    follow(rig)
    lane.send(TOPIC_NAME, b"b")
    rig.run()
    assert len(reader.fetch(1 << 20)) == 1
    assert reader.trace_stride == 1
    reader.close()
