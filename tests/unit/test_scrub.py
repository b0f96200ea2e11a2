"""Scrubbing: what is found in sealed segments, what another replica mends, and what `shmlog segment scrub` says."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from shmlog.cli import main as cli
from shmlog.cli.scrub.course import Pace
from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log import mending
from shmlog.log.checkpoint import EpochStart, write_leader_epochs
from shmlog.log.compaction_checkpoint import CompactionCheckpoint, write_compaction_checkpoint
from shmlog.log.mending import mend
from shmlog.log.scrub import Flaw, SealedSegment, index_flaws, log_flaws, sealed_segments
from shmlog.log.segment import list_base_offsets
from shmlog.log.storage import OsStorage
from shmlog.machines.metadata_records import DirectoryRegistered
from shmlog.settings import ClusterConfig
from shmlog.supervisor.metadata import Catalog
from shmlog.testing.damage import EVERY_DAMAGE, Damage, remove
from shmlog.testing.known_log import batch_at, contents, log_file, write_log
from shmlog.testing.storage import FaultyStorage, Killed

STORAGE = OsStorage()
BATCH_BYTES = len(batch_at(0))
SEGMENTS = [40, 30, 3]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two sealed segments and an active one, all of leader epoch 0."""
    return replica(tmp_path / "data" / "orders-0")


def replica(directory: Path) -> Path:
    directory.parent.mkdir(exist_ok=True)
    write_log(directory, SEGMENTS, clean=True)
    write_leader_epochs(STORAGE, str(directory), [EpochStart(0, 0)])
    return directory


def flip(directory: Path, batch: int, base_offset: int = 0, at: int = 80) -> None:
    """A bit in a batch of the segment that begins with `base_offset`."""
    path = log_file(directory, base_offset)
    data = bytearray(path.read_bytes())
    data[batch * BATCH_BYTES + at] ^= 4
    path.write_bytes(data)


def segments_of(directory: Path) -> list[SealedSegment]:
    return sealed_segments(str(directory), list_base_offsets(STORAGE, str(directory)))


def flaws_of(directory: Path) -> list[Flaw]:
    return [flaw for segment in segments_of(directory) for flaw in log_flaws(STORAGE, segment, lambda _: None)]


def index_flaws_of(directory: Path) -> list[str]:
    return [flaw.suffix for segment in segments_of(directory) for flaw in index_flaws(STORAGE, segment)]


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_sound_log_has_no_flaws_and_its_last_segment_is_not_looked_at(log: Path) -> None:
    flip(log, 1, base_offset=140)
    assert (flaws_of(log), index_flaws_of(log)) == ([], [])


def test_every_damaged_batch_is_found_with_its_offsets_and_what_is_sound_between_them_is_not(log: Path) -> None:
    flip(log, 3)
    flip(log, 4)
    flip(log, 20, at=10)  # in the length
    flip(log, 29, base_offset=80)
    found = [(one.segment.base_offset, one.position, one.first_offset, one.end_offset) for one in flaws_of(log)]
    assert found == [
        (0, 3 * BATCH_BYTES, 6, 10),
        (0, 20 * BATCH_BYTES, 40, 42),
        (80, 29 * BATCH_BYTES, 138, 140),
    ]


def test_a_length_that_cannot_be_is_not_read(log: Path) -> None:
    path = log_file(log, 0)
    data = bytearray(path.read_bytes())
    at = 30 * BATCH_BYTES + 8
    data[at : at + 4] = (1 << 30).to_bytes(4, "big")
    path.write_bytes(data)
    asked: list[int] = []
    (flaw,) = log_flaws(STORAGE, segments_of(log)[0], asked.append)
    assert (flaw.first_offset, flaw.end_offset, flaw.problem) == (60, 62, f"the batch claims {(1 << 30) + 12} bytes")
    assert asked == [len(data), 9 * BATCH_BYTES]


@pytest.mark.parametrize("cut_bytes", [1, BATCH_BYTES, BATCH_BYTES + 70])
def test_a_file_that_ends_before_the_next_one_begins_is_flawed(log: Path, cut_bytes: int) -> None:
    path = log_file(log, 0)
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    (flaw,) = flaws_of(log)
    first = 40 - (cut_bytes + BATCH_BYTES - 1) // BATCH_BYTES
    assert (flaw.position, flaw.first_offset, flaw.end_offset) == (first * BATCH_BYTES, 2 * first, 80)


def test_a_batch_that_is_missing_is_a_gap(log: Path) -> None:
    path = log_file(log, 0)
    data = path.read_bytes()
    path.write_bytes(data[: 7 * BATCH_BYTES] + data[8 * BATCH_BYTES :])
    (flaw,) = flaws_of(log)
    assert (flaw.position, flaw.first_offset, flaw.end_offset) == (7 * BATCH_BYTES, 14, 16)


@pytest.mark.parametrize("damage", EVERY_DAMAGE)
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_index_entries_that_do_not_lead_to_their_batches_are_flaws(log: Path, suffix: str, damage: Damage) -> None:
    damage(log_file(log, 80).with_suffix(suffix))
    if damage.__name__ in ("empty",):
        assert index_flaws_of(log) == []  # fewer entries lead nobody astray
    else:
        assert index_flaws_of(log) == [suffix]


def test_bytes_are_let_through_at_the_rate_that_was_asked_for() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(1000, lambda: now[0], sleep)
    for _ in range(10):
        pace(500)
    assert now[0] == pytest.approx(4.5)
    now[0] += 100.0  # what was not read then is not made up for
    for _ in range(10):
        pace(500)
    assert now[0] == pytest.approx(104.5 + 4.5, abs=0.2)


# --- mending ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(log: Path, tmp_path: Path) -> Path:
    """The same log on another disk."""
    return replica(tmp_path / "disk2" / "orders-0")


def test_a_flipped_bit_is_put_right_from_another_replica_and_no_other_byte_is_touched(log: Path, other: Path) -> None:
    before, inode = contents(other), log_file(log, 0).stat().st_ino
    flip(log, 3)
    flip(log, 4)
    (flaw,) = flaws_of(log)
    assert mend(STORAGE, flaw, str(other)) == 2 * BATCH_BYTES
    assert contents(log) == contents(other) == before
    assert log_file(log, 0).stat().st_ino == inode
    assert mend(STORAGE, flaw, str(other)) == 0, "a second time there is nothing to do"


def test_what_is_missing_at_the_end_of_a_file_comes_from_another_replica(log: Path, other: Path) -> None:
    path = log_file(log, 0)
    path.write_bytes(path.read_bytes()[: -3 * BATCH_BYTES - 5])
    (flaw,) = flaws_of(log)
    assert mend(STORAGE, flaw, str(other)) == 4 * BATCH_BYTES
    assert contents(log) == contents(other)


@pytest.mark.parametrize("compacted", ["log", "other"])
def test_nothing_is_taken_from_or_put_into_what_is_compacted(log: Path, other: Path, compacted: str) -> None:
    flip(log, 2)
    (flaw,) = flaws_of(log)
    before = contents(log)
    directory = {"log": log, "other": other}[compacted]
    write_compaction_checkpoint(STORAGE, str(directory), CompactionCheckpoint(1, 1))
    with pytest.raises(CorruptRecordError, match=f"{directory} is compacted at offset 0.*shmlog replica move"):
        mend(STORAGE, flaw, str(other))
    assert contents(log) == before


def test_a_lot_is_mended_bit_by_bit(log: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "MENDED_BYTES_MAX", 10 * BATCH_BYTES + 1)
    path = log_file(log, 0)
    path.write_bytes(bytes(path.stat().st_size))
    written = []
    while found := flaws_of(log):
        written.append(mend(STORAGE, found[0], str(other)) // BATCH_BYTES)
    assert written == [10, 10, 10, 10]
    assert contents(log) == contents(other)


def test_whoever_is_killed_while_mending_leaves_what_the_next_one_mends(log: Path, other: Path) -> None:
    for batch in range(5):
        flip(log, batch)
    storage = FaultyStorage(calls_left=0)
    for calls in range(20):
        storage.calls_left = calls
        with contextlib.suppress(Killed):
            mend(storage, flaws_of(log)[0], str(other))
            break
        storage.close_all()
        assert len(flaws_of(log)) == 1, "in front of it all is sound"
    assert contents(log) == contents(other)
    assert storage.synced == [log_file(log, 0).name], "durable when it returns"


def rolled_elsewhere(directory: Path) -> Path:
    """The same records on another disk, in segments that begin at other offsets."""
    directory.parent.mkdir(exist_ok=True)
    write_log(directory, [10, 25, 5, 30, 3], clean=True)
    write_leader_epochs(STORAGE, str(directory), [EpochStart(0, 0)])
    return directory


@pytest.mark.parametrize("first", [0, 9, 10, 20])
def test_a_replica_whose_segments_begin_elsewhere_mends_as_well(log: Path, tmp_path: Path, first: int) -> None:
    """So they do behind a takeover that took more than one roll out of the ring."""
    other, before = rolled_elsewhere(tmp_path / "disk2" / "orders-0"), contents(log)
    for batch in range(first, 38):
        flip(log, batch)
    (flaw,) = flaws_of(log)
    assert mend(STORAGE, flaw, str(other)) == (38 - first) * BATCH_BYTES
    assert contents(log) == before
    flip(other, 3, base_offset=20)
    assert flaws_of(log) == []
    (flaw,) = flaws_of(other)
    assert mend(STORAGE, flaw, str(log)) == BATCH_BYTES
    assert flaws_of(other) == []


def spoil_the_same_batch(other: Path) -> None:
    flip(other, 3)


def lose_the_file(other: Path) -> None:
    log_file(other, 0).unlink()


def put_another_batch_there(other: Path) -> None:
    path = log_file(other, 0)
    data = path.read_bytes()
    path.write_bytes(data[: 3 * BATCH_BYTES] + batch_at(4) + data[4 * BATCH_BYTES :])


def write_it_under_another_epoch(other: Path) -> None:
    path = log_file(other, 0)
    data = bytearray(path.read_bytes())
    data[3 * BATCH_BYTES + 15] = 9  # outside the checksum
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_the_same_batch, "has nothing sound at offset 6"),
        (lose_the_file, "is not there"),
        (put_another_batch_there, "has nothing sound at offset 6"),
        (write_it_under_another_epoch, "has another log at offset 6: a batch of leader epoch 9"),
    ],
)
def test_nothing_is_written_from_a_replica_that_is_not_sound_there_or_of_another_log(
    log: Path, other: Path, spoil: Callable[[Path], None], said: str
) -> None:
    flip(log, 3)
    (flaw,) = flaws_of(log)
    spoil(other)
    before = contents(log)
    with pytest.raises((CorruptRecordError, StorageError), match=said):
        mend(STORAGE, flaw, str(other))
    assert contents(log) == before


def test_a_segment_that_was_cut_meanwhile_is_left_alone(log: Path, other: Path) -> None:
    flip(log, 3)
    (flaw,) = flaws_of(log)
    for base_offset in (80, 140):
        log_file(log, base_offset).unlink()
    with pytest.raises(StorageError, match="is not the sealed segment any more that it was"):
        mend(STORAGE, flaw, str(other))


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(log: Path, other: Path) -> Path:
    """The data directory of a stopped cluster, whose metadata log knows of the other disk."""
    catalog = Catalog(str(log.parent), ClusterConfig.from_mapping({}), directory_id="A" * 22)
    catalog.commit((DirectoryRegistered("B" * 22, str(other.parent)),))
    catalog.close(clean=True)
    return log.parent


def scrub(data: Path, *options: str) -> int:
    return cli.run(["segment", "scrub", "--data-dir", str(data), "--rate", "10GB", *options])


def test_a_sound_cluster_is_said_to_be_sound(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrub(data) == 0
    assert capsys.readouterr().out.startswith("4 sealed segments of 2 replicas, ")
    assert scrub(data, "orders") == 0
    assert scrub(data, "flights") == 1
    assert "no log of topic 'flights'" in capsys.readouterr().err


def test_a_flipped_bit_is_told_and_with_repair_put_right(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(data / "orders-0")
    flip(data / "orders-0", 3)
    assert scrub(data) == 1
    said = capsys.readouterr()
    assert f"{log_file(data / 'orders-0', 0)}: from byte {3 * BATCH_BYTES}, offsets 6 to 7:" in said.out
    assert "--repair mends from other replicas" in said.err
    assert scrub(data, "--repair", "-o", "json") == 0
    (flaw,) = orjson.loads(capsys.readouterr().out)["flaws"]
    assert (flaw["topic"], flaw["partition"], flaw["first_offset"], flaw["repaired"]) == ("orders", 0, 6, True)
    assert contents(data / "orders-0") == before
    assert scrub(data) == 0


def test_what_no_replica_has_is_told_with_the_reason_and_the_rest_is_mended(
    data: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for directory in (data / "orders-0", other):
        flip(directory, 3)
    flip(other, 9)
    assert scrub(data, "--repair", "-o", "json") == 1
    summary = orjson.loads(capsys.readouterr().out)
    flaws = [(flaw["directory"], flaw["first_offset"], flaw["repaired"]) for flaw in summary["flaws"]]
    assert flaws == [(str(data / "orders-0"), 6, False), (str(other), 18, True), (str(other), 6, False)]
    assert "has nothing sound at offset 6" in summary["flaws"][0]["note"]
    assert (summary["replicas"], summary["segments"]) == (2, 4)


def test_indexes_are_made_anew_without_another_replica(data: Path, other: Path) -> None:
    shutil.rmtree(other)
    before = contents(data / "orders-0")
    remove(log_file(data / "orders-0", 0).with_suffix(".index"))
    assert scrub(data) == 1
    assert scrub(data, "--repair") == 0
    assert sorted(contents(data / "orders-0")) == sorted(before)
    assert scrub(data) == 0


def test_without_another_replica_a_damaged_batch_is_said_to_have_none(
    data: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(other)
    flip(data / "orders-0", 3)
    assert scrub(data, "--repair") == 1
    assert "not repaired: no other replica has it" in capsys.readouterr().out


def test_a_disk_that_does_not_keep_what_is_written_is_not_written_to_for_ever(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(data / "orders-0", 3)
    monkeypatch.setattr(OsStorage, "pwrite", lambda *_: None)
    assert scrub(data, "--repair") == 1
    assert "it was written, and the disk does not have it" in capsys.readouterr().out


@pytest.mark.parametrize("rate", ["fast", "0", "-1MB", "10XB"])
def test_a_rate_that_is_none_is_refused(data: Path, rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrub(data, "--rate", rate) == 2
    assert "--rate takes bytes in a second, such as 50MB" in capsys.readouterr().err


def test_a_directory_that_is_no_data_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrub(tmp_path) == 1
    assert "has no metadata log that can be read" in capsys.readouterr().err
