"""Opening a log after a stop: torn tails, damage, missing and foreign indexes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError
from shmlog.log.checkpoint import EpochStart, write_leader_epochs
from shmlog.log.segment import segment_path
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.testing.damage import EVERY_DAMAGE, Damage, fill_with_garbage, remove
from shmlog.testing.known_log import (
    append,
    assert_it_goes_on,
    batch_at,
    contents,
    expected_log,
    log_file,
    look_at_segments,
    open_log,
    write_log,
)
from shmlog.testing.storage import FaultyStorage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-0"


class ListingStorage(FaultyStorage):
    """Counts how often a directory is listed."""

    listings = 0

    def listdir(self, path: str) -> list[str]:
        self.listings += 1
        return super().listdir(path)


@pytest.mark.parametrize("clean", [True, False])
def test_a_directory_is_listed_once_when_its_log_opens_and_never_again(directory: Path, clean: bool) -> None:
    """There may be 150,000 names in it."""
    write_log(directory, [1] * 30, clean=clean)
    storage = ListingStorage()
    log = open_log(directory, storage=storage)
    for _ in range(3):
        log.write_snapshot(log.log_end_offset, log.restore_producers())
        append(log, 1)
        log.roll(log.log_end_offset)
    log.delete_segments([0, 2])
    look_at_segments(log)
    log.close(clean=True)
    assert storage.listings == 1


def test_of_the_snapshots_the_newest_two_stay(directory: Path) -> None:
    for start in (0, 8):
        log = open_log(directory)
        for _ in range(2):
            append(log, 2)
            log.write_snapshot(log.log_end_offset, [])
            log.write_snapshot(log.log_end_offset, [])
        log.close(clean=True)
        assert sorted(path.name for path in directory.glob("*.snapshot")) == [
            f"{start + 4:020d}.snapshot",
            f"{start + 8:020d}.snapshot",
        ]


def test_a_cleanly_closed_log_opens_without_being_read(directory: Path) -> None:
    write_log(directory, [20, 20], clean=True)
    storage = FaultyStorage()
    before = contents(directory)
    log = open_log(directory, storage=storage)
    assert (log.recovered, log.log_end_offset, log.recovery_point) == ("", 80, 80)
    assert contents(directory) == before
    assert storage.calls["create"] == 0  # nothing was rebuilt
    assert not (directory / "clean-shutdown").exists()
    assert_it_goes_on(log, directory, 40)


def test_an_unclean_log_opens_with_everything_that_is_sound(directory: Path) -> None:
    write_log(directory, [20, 20], clean=False)
    before = contents(directory)
    log = open_log(directory)
    assert (log.recovered, log.log_end_offset, log.recovery_point) == ("", 80, 40)
    assert contents(directory) == before
    assert_it_goes_on(log, directory, 40)


def test_a_tail_torn_at_any_byte_is_cut_to_the_last_whole_batch(directory: Path) -> None:
    (whole,) = write_log(directory, [4], clean=False)
    batch_bytes = len(batch_at(0))
    assert len(whole) == 4 * batch_bytes
    for length in range(len(whole)):
        log_file(directory, 0).write_bytes(whole[:length])
        kept, dropped = length // batch_bytes, length % batch_bytes
        log = open_log(directory)
        assert log.log_end_offset == 2 * kept
        assert log_file(directory, 0).stat().st_size == kept * batch_bytes
        if dropped:
            path = segment_path(str(directory), 0, ".log")
            assert log.recovered == (
                f"{path}: the batch at offset {2 * kept} (byte {kept * batch_bytes}) is not sound: "
                f"the file ends inside it; dropped {dropped} bytes; the log now ends at offset {2 * kept}"
            )
        else:
            assert log.recovered == ""
        append(log, 4 - kept)
        assert log_file(directory, 0).read_bytes() == whole
        log.close(clean=False)


def test_a_tail_of_zeros_or_garbage_is_cut(directory: Path) -> None:
    (whole,) = write_log(directory, [4], clean=False)
    for tail in (b"\0" * 5000, b"garbage" * 50, batch_at(0), batch_at(10)):
        log_file(directory, 0).write_bytes(whole + tail)
        log = open_log(directory)
        assert f"dropped {len(tail)} bytes" in log.recovered
        assert log_file(directory, 0).read_bytes() == whole
        log.close(clean=False)


def test_a_flipped_bit_anywhere_ends_the_log_at_its_batch(directory: Path) -> None:
    (whole,) = write_log(directory, [3], clean=False)
    batch_bytes = len(batch_at(0))
    for byte in range(len(whole)):
        if 12 <= byte % batch_bytes < 16:
            continue  # the leader epoch is outside the checksum, and nothing else says what it was
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << byte % 8
        log_file(directory, 0).write_bytes(damaged)
        log = open_log(directory)
        kept = byte // batch_bytes
        assert log.log_end_offset == 2 * kept, byte
        assert f"dropped {len(whole) - kept * batch_bytes} bytes" in log.recovered
        append(log, 3 - kept)
        assert log_file(directory, 0).read_bytes() == whole
        log.close(clean=False)


def test_damage_in_the_middle_drops_the_later_segments_and_says_how_much(directory: Path) -> None:
    first, second, third, fourth = write_log(directory, [5, 5, 5, 5], clean=False)
    damaged = bytearray(second)
    damaged[2 * len(batch_at(0)) + 70] ^= 4
    log_file(directory, 10).write_bytes(damaged)
    log = open_log(directory)
    dropped = len(second) - 2 * len(batch_at(0))
    assert log.recovered == (
        f"{log_file(directory, 10)}: the batch at offset 14 (byte {2 * len(batch_at(0))}) is not sound: "
        f"its checksum is wrong; dropped {dropped} bytes and 2 later segments with {len(third + fourth)} bytes; "
        "the log now ends at offset 14"
    )
    assert log_file(directory, 0).read_bytes() == first
    assert not log_file(directory, 20).exists()
    assert not log_file(directory, 30).exists()
    assert_it_goes_on(log, directory, 7)


def test_a_segment_whose_end_never_reached_the_disk_ends_the_log_there(directory: Path) -> None:
    """After a power loss a closed segment may be shorter than the next one's name says."""
    write_log(directory, [5, 5], clean=False)
    log_file(directory, 0).write_bytes(expected_log(3))
    log = open_log(directory)
    assert "it is missing: the next file begins at offset 10" in log.recovered
    assert_it_goes_on(log, directory, 3)


def test_what_was_synced_is_not_read_again(directory: Path) -> None:
    log = open_log(directory)
    append(log, 5)
    log.roll(10)
    append(log, 5)
    log.sync(10)
    log.close(clean=False)
    damaged = bytearray(log_file(directory, 0).read_bytes())
    damaged[70] ^= 1
    log_file(directory, 0).write_bytes(damaged)
    log = open_log(directory)
    assert (log.recovered, log.log_end_offset, log.recovery_point) == ("", 20, 10)
    with pytest.raises(CorruptRecordError, match="offset 0 .*checksum is wrong"):
        list(log.batches())


def test_synced_offsets_that_are_gone_are_named(directory: Path) -> None:
    log = open_log(directory)
    append(log, 5)
    log.close(clean=True)
    log_file(directory, 0).write_bytes(expected_log(2))
    log = open_log(directory)
    assert "offsets 4 to 9 had reached the disk before and are not there any more" in log.recovered
    assert log.recovery_point == 4
    assert_it_goes_on(log, directory, 2)


def test_damage_after_a_clean_close_is_found_when_its_framing_is_broken(directory: Path) -> None:
    (whole,) = write_log(directory, [5], clean=True)
    at = 4 * len(batch_at(0))
    log_file(directory, 0).write_bytes(whole[: at + 8] + b"\x7f" + whole[at + 9 :])
    log = open_log(directory)
    assert "the file ends inside it" in log.recovered
    assert_it_goes_on(log, directory, 4)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "killed"])
@pytest.mark.parametrize("base_offset", [0, 40])
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("damage", EVERY_DAMAGE)
def test_a_missing_or_damaged_index_is_made_again_as_it_was(
    directory: Path, clean: bool, base_offset: int, suffix: str, damage: Damage
) -> None:
    write_log(directory, [20, 20], clean=clean)
    before = contents(directory)
    damage(Path(segment_path(str(directory), base_offset, suffix)))
    log = open_log(directory)
    found = look_at_segments(log)
    assert contents(directory) == before
    assert log.log_end_offset == 80
    if damage is remove:
        assert "rebuilt the missing indexes" in found
    elif clean and damage is fill_with_garbage:
        assert found == f"rebuilt the indexes of {log_file(directory, base_offset)}, which did not fit it"
    assert_it_goes_on(log, directory, 40)


def test_a_time_index_that_lost_its_end_is_not_taken_for_a_whole_one(directory: Path) -> None:
    log = open_log(directory)
    for number in range(30):
        log.append(encode_batch([NewRecord(b"v" * 60, timestamp_ms=5000 - 10 * abs(number - 20))], base_offset=number))
    youngest = log.active.max_timestamp_ms
    log.close(clean=True)
    path = Path(segment_path(str(directory), 0, ".timeindex"))
    whole = path.read_bytes()
    assert len(whole) > 24
    path.write_bytes(whole[:12])
    log = open_log(directory)
    assert log.active.max_timestamp_ms == youngest
    assert path.read_bytes() == whole


def test_a_damaged_index_of_a_synced_segment_is_found_after_a_kill_too(directory: Path) -> None:
    log = open_log(directory)
    append(log, 20)
    log.roll(40)
    append(log, 3)
    log.sync(40)
    log.close(clean=False)
    before = contents(directory)
    fill_with_garbage(Path(segment_path(str(directory), 0, ".index")))
    log = open_log(directory)
    assert "which did not fit it" in look_at_segments(log)
    assert contents(directory) == before


def test_rebuilding_replaces_an_index_that_readers_may_have_mapped(directory: Path) -> None:
    """Shortening a mapped file would kill its readers with SIGBUS."""
    write_log(directory, [20], clean=False)
    index = Path(segment_path(str(directory), 0, ".index"))
    with index.open("rb") as held:
        before = held.read()
        log_file(directory, 0).write_bytes(expected_log(5))
        open_log(directory).close(clean=False)
        held.seek(0)
        assert held.read() == before
        assert index.stat().st_size < len(before)


def test_leftovers_of_interrupted_work_are_swept(directory: Path) -> None:
    write_log(directory, [5], clean=False)
    leftovers = [
        "00000000000000000003.log.deleted",
        "00000000000000000000.index.rebuild",
        "recovery-point.tmp",
        "00000000000000000007.timeindex",
    ]
    for name in leftovers:
        (directory / name).write_bytes(b"x")
    (directory / "notes.txt").write_text("not ours")
    log = open_log(directory)
    assert not any((directory / name).exists() for name in leftovers)
    assert (directory / "notes.txt").exists()
    assert_it_goes_on(log, directory, 5)


def test_epochs_and_snapshots_from_after_the_cut_are_dropped(directory: Path) -> None:
    log = open_log(directory)
    log.assign_epoch(1)
    append(log, 5)
    log.write_snapshot(4, [])
    log.write_snapshot(10, [])
    log.close(clean=False)
    write_leader_epochs(FaultyStorage(), str(directory), [EpochStart(1, 0), EpochStart(2, 8)])
    log_file(directory, 0).write_bytes(expected_log(3))
    log = open_log(directory)
    assert log.leader_epochs == [EpochStart(1, 0)]
    assert log.latest_snapshot() == (4, [])
    assert not (directory / f"{10:020d}.snapshot").exists()  # it would be believed once the log has grown over it
    assert_it_goes_on(log, directory, 3)


def test_damage_in_what_was_safe_on_the_disk_cuts_the_log_but_keeps_the_damaged_file(directory: Path) -> None:
    """Regression: one flipped byte in a cleanly closed log, and a restart threw everything behind it away."""
    log = open_log(directory)
    append(log, 5)
    log.close(clean=True)
    damaged = bytearray(log_file(directory, 0).read_bytes())
    damaged[8] ^= 0x40  # the first batch's length
    log_file(directory, 0).write_bytes(damaged)
    log = open_log(directory)
    assert log.log_end_offset == 0
    kept = log_file(directory, 0).with_name(log_file(directory, 0).name + ".damaged")
    assert kept.read_bytes() == damaged
    assert f"what was there is kept in {kept.name}" in log.recovered
    log.close(clean=False)
