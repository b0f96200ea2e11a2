"""Producers that write anything into their lanes, beside honest ones: nobody else notices."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from shmlog.errors import CorruptRecordError, InvalidRequestError
from shmlog.memory import layout, names
from shmlog.memory.lane import open_lane
from shmlog.memory.layout import LaneState
from shmlog.native.checksum import crc32c
from shmlog.native.lane import LaneWriter
from shmlog.native.mapping import Mapping
from shmlog.native.records import decode_batches
from shmlog.partition import lane_desk
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.compression import GZIP, NONE, ZSTD
from shmlog.record.header import BatchHeader
from shmlog.testing.hostile_lane import HostileLane
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig

MAX_BATCH_BYTES = 4096
CONFIG = {"max.message.bytes": str(MAX_BATCH_BYTES), "segment.bytes": "1048576"}
ROUNDS = 30
SCRIBBLED_LANES = 8
FLICKERING_LANES = 60


class Honest:
    """A producer that sends numbered records, and knows what must arrive."""

    def __init__(self, rig: Rig, producer_id: int, codec: int = NONE) -> None:
        self.lane: Lane = rig.lane(producer_id=producer_id, codec=codec)
        self.sent: list[bytes] = []
        self.prefix = b"honest %d " % producer_id

    def send(self, count: int) -> None:
        for _ in range(count):
            value = self.prefix + b"%d" % len(self.sent)
            self.lane.send_all(value)
            self.sent.append(value)
        self.lane.writer.reclaim()


def struggle(rig: Rig, random: Random) -> None:
    """Honest and hostile producers in turns, owners that come and go; then everything honest is there, once."""
    honest = [Honest(rig, 100), Honest(rig, 101), Honest(rig, 102, ZSTD)]
    hostile: list[HostileLane] = []
    for _ in range(ROUNDS):
        if len(hostile) < 3 or random.random() < 0.2:
            lane_id = rig.make_lane(
                producer_id=random.choice((-1, -1, 1)), codec=random.choice((NONE, NONE, GZIP, ZSTD))
            )
            hostile.append(HostileLane(rig.lane_mapping(lane_id), MAX_BATCH_BYTES, random))
        for lane in hostile[-6:]:
            lane.strike()
        for producer in honest:
            producer.send(random.randint(0, 5))
        rig.run()
        if random.random() < 0.05:
            rig.take_over(rig.spec.leader_epoch + 1)
    rig.run()
    expect_all(rig, honest)


def expect_all(rig: Rig, honest: list[Honest]) -> None:
    """Everything that the honest sent, once and in order, in a log without gaps that decodes to its end."""
    records = rig.read_all()
    assert [record.offset for record in records] == list(range(rig.publisher.tail_offset))
    for producer in honest:
        found = [record.value for record in records if (record.value or b"").startswith(producer.prefix)]
        assert found == producer.sent
    for record in records:
        record.key, record.headers  # noqa: B018  (decoding is what is tested)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_producer_writes_into_its_lane_everybody_elses_records_arrive(tmp_path: Path, seed: int) -> None:
    with open_rig(tmp_path / "flights-0", CONFIG) as rig:
        struggle(rig, Random(seed))


@pytest.mark.long
def test_many_seeds_of_hostile_lanes(tmp_path: Path, boxed_seeds: Iterator[int]) -> None:
    for seed in boxed_seeds:
        with open_rig(tmp_path / f"flights-{seed}", CONFIG) as rig:
            try:
                struggle(rig, Random(seed))
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
        shutil.rmtree(tmp_path / f"flights-{seed}")


def test_a_lane_that_changes_while_the_owner_reads_it_hurts_nobody_else(tmp_path: Path) -> None:
    """Its producer goes on writing while the owner, which has let go of the GIL, is at work on the same bytes."""
    over = threading.Event()
    with open_rig(tmp_path / "flights-0", CONFIG) as rig:
        honest = Honest(rig, 100)

        def keep_striking(lane: HostileLane) -> None:
            while not over.is_set():
                lane.strike()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)
        threads: list[threading.Thread] = []
        try:
            for seed in range(SCRIBBLED_LANES):
                mapping = rig.lane_mapping(rig.make_lane(producer_id=-1, codec=(NONE, ZSTD)[seed % 2]))
                lane = HostileLane(mapping, MAX_BATCH_BYTES, Random(seed))
                threads.append(threading.Thread(target=keep_striking, args=(lane,), daemon=True))
                threads[-1].start()
                for _ in range(20):
                    honest.send(3)
                    rig.run()
        finally:
            over.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        rig.run()
        expect_all(rig, [honest])


def test_what_changes_between_the_check_and_the_copy_is_not_signed(rig: Rig) -> None:
    """The last byte of a batch goes to and fro while the owner takes it: what was checked is what consumers get."""
    over = threading.Event()

    def flicker(mapping: Mapping, at: int, sound: int, broken: int) -> None:
        while not over.is_set():
            mapping.store(at, broken)
            mapping.store(at, sound)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for _ in range(FLICKERING_LANES):
            lane = rig.lane(producer_id=-1)
            lane.send_all(*[b""] * 1500)
            end = lane.mapping.load(layout.LANE_OPEN) >> 18 & 0xFFFFF
            at = layout.LANE_DATA + (end - 1 & ~7)
            sound = lane.mapping.load(at)
            broken = sound | 0x7F << 8 * ((end - 1) % 8)

            over.clear()
            thread = threading.Thread(target=flicker, args=(lane.mapping, at, sound, broken), daemon=True)
            thread.start()
            rig.run()
            over.set()
            thread.join()
    finally:
        over.set()
        sys.setswitchinterval(interval)
    assert [record.offset for record in rig.read_all()] == list(range(rig.publisher.tail_offset))


def test_a_record_whose_offset_lies_never_reaches_a_consumer(rig: Rig) -> None:
    """Regression: the owner signed it, and consumers went on behind the offset that it claimed: they never saw the
    records of others in between."""
    hostile, honest = rig.lane(producer_id=1), rig.lane(producer_id=2)
    hostile.send_all(b"I am record 0")
    at = layout.LANE_DATA + layout.FRAME_BYTES + 3  # behind length, attributes and timestamp delta
    hostile.mapping.write(at, b"\x28")  # 20
    honest.send_all(b"1")
    rig.run()
    honest.send_all(b"2")
    rig.run()
    assert rig.values() == [b"1", b"2"]
    assert hostile.writer.state == LaneState.QUARANTINED


@pytest.mark.parametrize(("distance_from_end", "lie"), [(1, b"\x7f"), (3, b"\x7f"), (4, b"\x00")])
def test_headers_that_do_not_fit_their_record_never_reach_a_consumer(
    rig: Rig, distance_from_end: int, lie: bytes
) -> None:
    """Regression: the owner looked at the lengths of records only, and consumers could not get past the batch."""
    hostile, honest = rig.lane(producer_id=1), rig.lane(producer_id=2)
    hostile.send(TOPIC_NAME, b"value", headers=[("k", b"")])  # ends with: 1 header, length 1, k, length 0
    end = hostile.mapping.load(layout.LANE_OPEN) >> 18 & 0xFFFFF
    hostile.mapping.write(layout.LANE_DATA + end - distance_from_end, lie)
    honest.send_all(b"1")
    rig.run()
    assert rig.values() == [b"1"]
    assert hostile.writer.state == LaneState.QUARANTINED


def test_a_head_that_turns_odd_while_its_lane_is_attached_is_made_even(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the head was checked once and then read again; recovery died of an odd one."""
    hostile, honest = rig.lane(producer_id=1), rig.lane(producer_id=2)
    honest.send_all(b"1")
    rig.run()

    def open_and_spoil(name: str, data_bytes: int) -> Mapping:
        opened = open_lane(name, data_bytes)
        if name == names.lane(rig.tag, hostile.writer.lane_id):
            hostile.mapping.store(layout.LANE_HEAD, 5)
        return opened

    hostile.send_all(b"mine")
    monkeypatch.setattr(lane_desk, "open_lane", open_and_spoil)
    rig.take_over(1)
    honest.send_all(b"2")
    rig.run()
    assert sorted(rig.values()) == [b"1", b"2", b"mine"]


@pytest.mark.parametrize("at", range(0, layout.LANE_FREE + 64, 8))
def test_nothing_that_a_producer_writes_into_its_lane_makes_its_records_anybody_elses(rig: Rig, at: int) -> None:
    """Regression: the terms of a lane stood in it, and a successor read them again: whoever wrote another producer's id
    there, with a higher epoch, fenced that producer."""
    honest, hostile = rig.lane(producer_id=100), rig.lane(producer_id=1)
    honest.send_all(b"1")
    rig.run()
    hostile.send_all(b"mine")
    hostile.writer.seal()
    before = hostile.mapping.load(at)
    hostile.mapping.store(at, 100)
    rig.take_over(1)
    hostile.mapping.store(at, before)
    rig.run()
    honest.send_all(b"2")
    rig.run()
    assert [value for value in rig.values() if value != b"mine"] == [b"1", b"2"]
    assert producers_of(rig, b"mine") <= {1}


def test_a_successor_takes_a_lanes_terms_from_the_lane_table(rig: Rig) -> None:
    lane = rig.lane(producer_id=1 << 40, epoch=9)
    granted = rig.terms(lane.writer.lane_id)
    rig.take_over(1)
    assert [held.terms for held in rig.desk.list()] == [granted]
    lane.send_all(b"1")
    rig.run()
    assert producers_of(rig, b"1") == {1 << 40}


def producers_of(rig: Rig, value: bytes) -> set[int]:
    """The producer ids of the batches in the log that hold `value`."""
    log = b"".join(path.read_bytes() for path in sorted(rig.directory.glob("*.log")))
    found, at = set(), 0
    while at < len(log):
        header = BatchHeader.parse(log, at)
        batch = log[at : at + header.size_bytes]
        if value in {record.value for record in decode_records(batch)}:
            found.add(header.producer_id)
        at += header.size_bytes
    return found


@pytest.mark.parametrize("is_open", [True, False])
def test_a_count_that_no_batch_of_its_size_has_begins_no_segment(rig: Rig, is_open: bool) -> None:
    """Regression: whether the segment has offsets left was asked before anybody looked whether so many records are
    there. Each lane that claimed billions of them made the owner roll, with a snapshot, and a sync soon after."""
    hostile, honest = rig.lane(producer_id=1), rig.lane(producer_id=2)
    honest.send_all(b"1")
    rig.run()
    hostile.send_all(b"I am two billion")
    if is_open:
        word = hostile.mapping.load(layout.LANE_OPEN)
        hostile.mapping.store(layout.LANE_OPEN, word | (1 << 18) - 1)
    else:
        hostile.writer.seal()
        hostile.mapping.write(layout.LANE_DATA + layout.FRAME_COUNT, b"\xff\xff\xff\xff")
    reaches = rig.publisher.tail_pos
    rig.run()
    assert hostile.writer.state == LaneState.QUARANTINED
    assert [path.name for path in rig.directory.glob("*.log")] == [f"{0:020d}.log"]
    assert not any(rig.publisher.ring_bytes_between(reaches, reaches + 80)), "it was copied before it was judged"


def test_a_batch_with_a_producer_id_and_no_sequence_is_refused_as_kafka_does(rig: Rig) -> None:
    """Regression: neither its epoch nor its order was looked at: whoever was fenced could go on like that."""
    newer, fenced = rig.lane(producer_id=1, epoch=1), rig.lane(producer_id=1, epoch=0, sequence=-1)
    newer.send_all(b"1")
    rig.run()
    delivery = fenced.send(TOPIC_NAME, b"from the past")
    rig.run()
    fenced.writer.reclaim()
    assert rig.values() == [b"1"]
    with pytest.raises(InvalidRequestError):
        delivery.result(0)
    assert fenced.writer.state == LaneState.STOPPED


def test_a_producer_that_never_stops_sending_does_not_keep_its_lane_from_closing(rig: Rig) -> None:
    """Regression: a lane was let go only when it was empty, so that an owner that closes could be kept for ever."""

    class Careless(Lane):
        def _attend(self, lane: LaneWriter) -> LaneWriter:
            return lane

    lane_id = rig.make_lane(producer_id=-1)
    careless = Careless(rig.tag, lane_id, rig.terms(lane_id), -1, -1)
    rounds_of_a_lane = (careless.mapping.size_bytes - layout.LANE_DATA) // 2000
    careless.send_all(bytes(2000))
    rig.desk.begin_close(lane_id, "closed")
    for _ in range(2 * rounds_of_a_lane):
        rig.run()
        careless.writer.reclaim()
        careless.send_all(bytes(2000))
        if rig.desk.drained():
            break
    assert rig.desk.is_empty


def test_a_consumer_refuses_offsets_that_lie_in_a_file_as_well() -> None:
    """Who can write segment files can also sign them."""
    batch = bytearray(encode_batch([NewRecord(b"a"), NewRecord(b"b")], base_offset=5))
    second = batch.index(b"a") + 2  # behind the first value and its header count: length, attributes, timestamp, offset
    batch[second + 3] = 40
    batch[17:21] = crc32c(bytes(batch[21:])).to_bytes(4, "big")
    assert decode_batches(bytes(batch), "t", 0, 5, 100, 1)[0][0].offset == 5
    with pytest.raises(CorruptRecordError, match="record 1 of the batch at offset 5"):
        decode_batches(bytes(batch), "t", 0, 6, 100, 10)
    with pytest.raises(CorruptRecordError, match="offset"):
        decode_records(bytes(batch))
