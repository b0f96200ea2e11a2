"""`shmlog segment repair` and `stats`, of our logs and of Kafka's: what they find, what they leave, and exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.cli import main as cli
from shmlog.log.checkpoint import CLEAN_SHUTDOWN, RECOVERY_POINT
from shmlog.log.dump import dump_offset_index, dump_time_index, verify
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.compression import GZIP
from shmlog.testing.known_log import assert_it_goes_on, contents, log_file, look_at_segments, open_log, write_log
from shmlog.testing.processes import killed_afterwards

RESERVED = bytes(3000)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Three segments of six batches each, closed cleanly."""
    write_log(tmp_path / "orders-0", [6, 6, 6], clean=True)
    return tmp_path / "orders-0"


@pytest.fixture
def kafkas(ours: Path) -> Path:
    """The same, with nothing in it that says whose it is, and a hole where the second segment was."""
    for name in (RECOVERY_POINT, CLEAN_SHUTDOWN):
        (ours / name).unlink(missing_ok=True)
    for suffix in (".log", ".index", ".timeindex"):
        (ours / f"{12:020d}{suffix}").unlink()
    return ours


def repair(directory: Path, *options: str) -> int:
    return cli.run(["segment", "repair", str(directory), *options])


def all_sound(directory: Path) -> bool:
    suffixes = (".log", ".index", ".timeindex", ".snapshot")
    return all(verify(str(path)).sound for path in directory.iterdir() if path.suffix in suffixes)


def drop_index(directory: Path) -> None:
    (directory / f"{0:020d}.index").unlink()


def garble_index(directory: Path) -> None:
    path = directory / f"{0:020d}.index"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def empty_time_index(directory: Path) -> None:
    (directory / f"{24:020d}.timeindex").write_bytes(bytes(7))


@pytest.mark.parametrize("harm", [drop_index, garble_index, empty_time_index])
@pytest.mark.parametrize("whose", ["ours", "kafkas"])
def test_indexes_are_made_anew_as_they_were(
    whose: str, harm: Callable[[Path], None], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    directory: Path = request.getfixturevalue(whose)
    before = contents(directory)
    harm(directory)
    harmed = contents(directory)
    assert repair(directory, "--dry-run") == 0
    assert "would be made anew from its log" in capsys.readouterr().out
    assert contents(directory) == harmed
    assert repair(directory) == 0
    assert "1 partition: 1 repaired, 0 left" in capsys.readouterr().out
    assert all_sound(directory)
    assert {name: data for name, data in contents(directory).items() if name.endswith(".log")} == {
        name: data for name, data in before.items() if name.endswith(".log")
    }
    assert list(contents(directory)) == list(before)
    assert repair(directory) == 0
    assert "0 repaired, 0 left" in capsys.readouterr().out


def test_indexes_of_a_compacted_log_of_kafkas_reach_its_end(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    directory.mkdir()
    batches = [
        encode_batch([NewRecord(b"v" * 5000, b"k", 1000 + offset)], base_offset=offset) for offset in range(0, 60, 10)
    ]
    log_file(directory, 0).write_bytes(b"".join(batches[:4]))
    log_file(directory, 35).write_bytes(b"".join(batches[4:]))
    assert repair(directory) == 0
    assert [entry.offset for entry in dump_offset_index(str(directory / f"{0:020d}.index"))] == [10, 20, 30]
    assert dump_time_index(str(directory / f"{0:020d}.timeindex"))[-1].timestamp_ms == 1030
    assert [entry.offset for entry in dump_offset_index(str(directory / f"{35:020d}.index"))] == [50]


def test_a_sealed_time_index_ends_with_the_largest_time(ours: Path) -> None:
    before = dump_time_index(str(ours / f"{0:020d}.timeindex"))[-1]
    drop_index(ours)
    assert repair(ours) == 0
    assert dump_time_index(str(ours / f"{0:020d}.timeindex"))[-1] == before


@pytest.mark.parametrize("tail", [b"no batch" * 20, bytes(700)])
def test_a_torn_end_is_cut_and_kept_aside_and_the_log_goes_on(
    ours: Path, tail: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_file(ours, 24)
    sound = path.read_bytes()
    path.write_bytes(sound + tail)
    assert repair(ours, "--dry-run", "-o", "json") == 0
    (planned,) = orjson.loads(capsys.readouterr().out)
    assert (planned["path"], planned["cut_bytes"]) == (str(path), len(tail))
    assert path.read_bytes() == sound + tail
    assert repair(ours) == 0
    assert "the log ends at offset 36" in capsys.readouterr().out
    assert path.read_bytes() == sound
    assert Path(f"{path}.damaged").read_bytes() == sound + tail
    log = open_log(ours)
    assert "gone" not in look_at_segments(log)
    assert_it_goes_on(log, ours, 18)


def test_a_batch_that_the_disk_lost_at_the_end_leaves_a_log_that_says_so_once(ours: Path) -> None:
    path = log_file(ours, 24)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert repair(ours) == 0
    assert shmlog.open_log(ours).end_offset == 34
    log = open_log(ours)
    assert "had reached the disk" not in log.recovered
    assert_it_goes_on(log, ours, 17)
    assert len(list(ours.glob("*.json.damaged"))) == 1


def test_reserved_room_of_kafkas_is_cut_without_a_copy(kafkas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log_file(kafkas, 24)
    sound = path.read_bytes()
    path.write_bytes(sound + RESERVED)
    assert repair(kafkas) == 0
    assert "cut 3000 bytes that were reserved and never written" in capsys.readouterr().out
    assert path.read_bytes() == sound
    assert not list(kafkas.glob("*.damaged"))


def test_damage_in_front_of_sound_segments_is_left_and_told(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log_file(ours, 12)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert repair(ours) == 1
    said = capsys.readouterr()
    assert f"{path}: at byte " in said.err
    assert "left as it is" in said.err
    assert "0 repaired, 1 left" in said.out
    assert path.read_bytes() == content


def test_a_directory_that_is_in_use_is_refused(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold = "import sys; from shmlog.control.data_directory import lock; held = lock(sys.argv[1]); print(); input()"
    holder = subprocess.Popen(
        [sys.executable, "-P", "-c", hold, str(ours.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with killed_afterwards(holder):
        assert holder.stdout is not None
        holder.stdout.readline()
        drop_index(ours)
        assert repair(ours) == 1
    assert "is in use by process" in capsys.readouterr().err
    assert not (ours / f"{0:020d}.index").exists()


# --- stats ------------------------------------------------------------------------------------------------------------


def test_stats_count_what_is_in_each_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "t-0"
    directory.mkdir()
    records = [NewRecord(b"v" * 500, None, 5000), NewRecord(None, b"k", 4000), NewRecord(b"v" * 500, None, 6000)]
    packed = encode_batch(records, base_offset=0, codec=GZIP)
    plain = encode_batch(records[:2], base_offset=10)
    log_file(directory, 0).write_bytes(packed + plain)
    log_file(directory, 20).write_bytes(b"")
    assert cli.run(["segment", "stats", str(directory), "-o", "json"]) == 0
    first, second = orjson.loads(capsys.readouterr().out)
    assert first["plain_bytes"] == len(encode_batch(records, base_offset=0)) + len(plain)
    assert first["size_bytes"] == len(packed) + len(plain)
    assert first["ratio"] == pytest.approx(first["plain_bytes"] / first["size_bytes"])
    chosen = ("base_offset", "next_offset", "first_timestamp_ms", "last_timestamp_ms", "batches", "records")
    assert [first[name] for name in chosen] == [0, 12, 4000, 6000, 2, 5]
    assert (first["null_keys"], first["null_values"], first["missing_offsets"]) == (3, 2, 7)
    assert first["codecs"] == {"gzip": 1, "none": 1}
    assert [second[name] for name in chosen] == [20, 20, None, None, 0, 0]
    assert cli.run(["segment", "stats", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "1970-01-01 00:00:04" in table
    assert "gzip 1, none 1" in table
    assert "2 segments, 5 records" in table


def test_stats_of_a_damaged_segment_fail_and_count_what_is_sound(
    ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log_file(ours, 12)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert cli.run(["segment", "stats", str(path), "-o", "json"]) == 1
    said = capsys.readouterr()
    (found,) = orjson.loads(said.out)
    assert (found["damages"], found["batches"], found["records"]) == (1, 5, 10)
    assert f"{path} is damaged in 1 place" in said.err
