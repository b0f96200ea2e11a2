"""What the owner makes of batches that are to be compressed: smaller ones with the same records, or none at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shmlog.errors import UnsupportedCompressionTypeError
from shmlog.log.cold import ColdReader
from shmlog.memory import layout
from shmlog.memory.layout import LaneState
from shmlog.partition import opened
from shmlog.record import compression
from shmlog.record.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import Lane, Rig, open_rig

each_codec = pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=compression.name_of)


def values(start: int, count: int = 20) -> list[bytes]:
    return [b"%06d flights from EWR to IAH, " % number * 4 for number in range(start, start + count)]


def headers(rig: Rig) -> list[BatchHeader]:
    """Of every batch in the segments."""
    found = []
    for path in sorted(rig.directory.glob("*.log")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            found.append(BatchHeader.parse(data, at))
            assert found[-1].crc_is_valid(data, at)
            at += found[-1].size_bytes
    return found


def codecs(rig: Rig) -> list[str]:
    return [header.codec for header in headers(rig)]


def alter(rig: Rig, **config: object) -> None:
    rig.keeper.configure(TopicConfig.from_mapping(rig.config | config))


@each_codec
def test_the_records_are_the_same_and_fewer_bytes(rig: Rig, codec: int) -> None:
    lane, plain = rig.lane(codec=codec), rig.lane(producer_id=8)
    lane.send_all(*values(0))
    rig.run()
    plain.send_all(*values(0))
    rig.run()
    assert rig.values() == values(0) * 2
    packed, whole = headers(rig)
    assert (packed.codec, whole.codec) == (compression.name_of(codec), "none")
    assert packed.size_bytes < whole.size_bytes / 3
    assert (packed.record_count, packed.last_offset_delta, packed.base_sequence, packed.producer_id) == (20, 19, 0, 7)
    assert rig.control.counters()["bytes"] == packed.size_bytes + whole.size_bytes
    cold = ColdReader(str(rig.directory))
    assert cold.offset_for_timestamp(packed.max_timestamp_ms, 40) is not None
    cold.close()


@each_codec
def test_a_batch_that_does_not_get_smaller_stays_as_it_is(rig: Rig, codec: int) -> None:
    lane = rig.lane(codec=codec)
    lane.send_all(b"x")
    rig.run()
    assert codecs(rig) == ["none"]
    assert rig.values() == [b"x"]


def test_a_topic_can_prescribe_a_codec_or_none_and_change_its_mind_while_producers_go_on(rig: Rig) -> None:
    gzip, plain = rig.lane(codec=GZIP), rig.lane(producer_id=8)

    def one_batch_each(start: int) -> None:
        for lane in (gzip, plain):
            lane.send_all(*values(start))
        rig.run()

    for start, kind in enumerate(("producer", "lz4", "uncompressed", "zstd", "producer")):
        alter(rig, **{"compression.type": kind})
        one_batch_each(start)
    assert sorted(codecs(rig)[0:2]) == ["gzip", "none"]
    assert codecs(rig)[2:8] == ["lz4", "lz4", "none", "none", "zstd", "zstd"]
    assert sorted(codecs(rig)[8:]) == ["gzip", "none"]
    assert len(rig.values()) == 200


def test_a_lane_that_is_opened_under_a_topics_codec_has_it_too(rig: Rig) -> None:
    alter(rig, **{"compression.type": "snappy"})
    lane = rig.lane(codec=GZIP)
    lane.send_all(*values(0))
    rig.run()
    assert codecs(rig) == ["snappy"]


def test_levels_come_from_who_chose_the_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int | None]] = []

    def noting(codec: int, level: int | None = None) -> Callable[[bytes], bytes]:
        asked.append((codec, level))
        return compression.compressor(codec, level)

    monkeypatch.setattr(opened, "compressor", noting)
    with open_rig(tmp_path / "flights-0", {"compression.zstd.level": "7", "compression.gzip.level": "2"}) as rig:
        rig.lane(codec=GZIP)  # with level -1, as rigs do
        alter(rig, **{"compression.type": "zstd"})
        alter(rig, **{"compression.type": "gzip"})
    assert asked == [(GZIP, -1), (ZSTD, 7), (GZIP, 2)]


@each_codec
def test_a_successor_finds_the_frames_of_compressed_batches_and_goes_on_compressing(rig: Rig, codec: int) -> None:
    lane = rig.lane(codec=codec)
    deliveries = []
    for start in (0, 20, 40):
        deliveries += [lane.send("flights", value) for value in values(start)]
        lane.writer.seal()
    head = lane.mapping.load(layout.LANE_HEAD)
    rig.publisher.run(1)
    while rig.publisher.written_pos != rig.publisher.tail_pos or rig.publisher.tail_offset < 60:
        rig.publisher.run(1_000_000)
    lane.mapping.store(layout.LANE_HEAD, head)  # as if the owner had been killed right after the tail
    rig.take_over(1)
    rig.run()
    lane.writer.reclaim()
    assert [delivery.result().offset for delivery in deliveries] == list(range(60))
    lane.send_all(*values(60))
    rig.run()
    assert rig.values() == values(0, 80)
    assert set(codecs(rig)) == {compression.name_of(codec)}


def test_a_group_is_bounded_by_what_was_taken_and_not_by_what_is_left_of_it(rig: Rig) -> None:
    lanes = [rig.lane(producer_id=number, codec=ZSTD) for number in range(20)]
    for lane in lanes:
        lane.send_all(*[bytes(10_000)] * 6)
        lane.writer.seal()
    rig.run()
    assert rig.control.counters()["groups"] >= 20 * 60_000 // rig.publisher.group_bytes - 1 > 3
    assert sum(header.size_bytes for header in headers(rig)) < 20_000


def test_intent_runs_no_further_ahead_than_a_batch_and_a_group(rig: Rig) -> None:
    lane = rig.lane(codec=ZSTD)
    for _ in range(30):
        lane.send_all(bytes(60_000))
        rig.run()
        lane.writer.reclaim()
        intent = rig.control.mapping.load(layout.CTL_INTENT_POS)
        assert rig.publisher.tail_pos <= intent <= rig.publisher.tail_pos + rig.publisher.group_bytes
    assert rig.values() == [bytes(60_000)] * 30


@each_codec
def test_what_is_no_records_is_never_compressed_and_stops_its_own_lane_only(rig: Rig, codec: int) -> None:
    bad, good = rig.lane(codec=codec), rig.lane(producer_id=8, codec=codec)
    bad.send_all(*values(0))
    bad.mapping.write(layout.LANE_DATA + layout.FRAME_BYTES + 3, b"\x7f\x7f")
    good.send_all(*values(0))
    rig.run()
    assert rig.values() == values(0)
    assert bad.writer.state == LaneState.QUARANTINED


def broken_compressor(codec: int, level: int | None = None) -> Callable[[bytes], bytes]:
    def fail(data: bytes) -> bytes:
        raise MemoryError("no room for a window")

    return fail


def test_a_codec_that_fails_ends_the_owner_and_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_rig(tmp_path / "flights-0") as rig:
        plain = rig.lane(producer_id=8)
        plain.send_all(*values(0))
        rig.run()
        with monkeypatch.context() as patch:
            patch.setattr(opened, "compressor", broken_compressor)
            rig.take_over(1)
            lane: Lane = rig.lane(codec=ZSTD)
            lane.send_all(*values(20))
            with pytest.raises(MemoryError, match="no room for a window"):
                rig.run()
        rig.take_over(2)
        rig.run()
        plain.send_all(*values(40))
        rig.run()
        assert rig.values() == values(0, 60)
        assert codecs(rig) == ["none", "zstd", "none"]


def test_without_the_library_neither_a_lane_nor_a_topic_gets_its_codec(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(UnsupportedCompressionTypeError, match="lz4 needs the package cramjam"):
        rig.lane(codec=LZ4)
    with pytest.raises(UnsupportedCompressionTypeError, match="zstd needs the package cramjam"):
        alter(rig, **{"compression.type": "zstd"})
    lane = rig.lane(codec=GZIP)
    lane.send_all(*values(0))
    rig.run()
    assert (rig.values(), codecs(rig)) == (values(0), ["gzip"])


def test_kafkas_names_levels_and_defaults_are_the_same_in_settings_and_codecs() -> None:
    assert compression.topic_compression(TopicConfig.from_mapping({})) == (compression.AS_PRODUCED, 0)
    for codec, levels in compression.LEVELS.items():
        name = compression.name_of(codec)
        config = {"compression.type": name}
        assert compression.topic_compression(TopicConfig.from_mapping(config)) == (codec, levels.default)
        for level in (levels.lowest, levels.highest):
            chosen = TopicConfig.from_mapping(config | {f"compression.{name}.level": level})
            assert compression.topic_compression(chosen) == (codec, level)
    assert compression.topic_compression(TopicConfig.from_mapping({"compression.type": "uncompressed"}))[0] == NONE
