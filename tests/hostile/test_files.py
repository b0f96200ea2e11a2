"""Files that something else has written to: what is read of them is right, and what is not right is said.

Damage is drawn by seed. Whatever it is: a cold reader returns records that are in the log, under their own offsets, or
an error that names the file; opening keeps a prefix that is sound, or refuses; looking never ends in a traceback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from shmlog.cli.segment import segment
from shmlog.control.paths import RuntimePaths
from shmlog.errors import CorruptRecordError, ForeignVersionError, OffsetOutOfRangeError, ShmlogError
from shmlog.log import checkpoint
from shmlog.log.cold import ColdReader
from shmlog.log.snapshot import ProducerEntry, encode_snapshot
from shmlog.log.storage import OsStorage
from shmlog.native.checksum import crc32c
from shmlog.native.columns import decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.header import BatchHeader
from shmlog.supervisor.home import enter
from shmlog.testing.known_log import batch_at, log_file, look_at_segments, open_log, write_log
from shmlog.testing.partition_rig import TOPIC_NAME, open_rig

SEGMENTS = [12, 12, 12]  # batches of two records
BATCHES = sum(SEGMENTS)
END = 2 * BATCHES
DIRECTORY = f"{TOPIC_NAME}-0"


# --- damage -----------------------------------------------------------------------------------------------------------


def flip_bits(path: Path, random: Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 3))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, random: Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: random.randrange(len(data) + 1)])


def append_garbage(path: Path, random: Random) -> None:
    noise = random.randbytes(random.randint(1, 300))
    tail = random.choice((bytes(100), b"\x7f" * 24, b"\xff" * 120, noise, b"9" * 5000))
    path.write_bytes(path.read_bytes() + tail)


def overwrite(path: Path, random: Random) -> None:
    data = bytearray(path.read_bytes())
    at = random.randrange(len(data) + 1)
    data[at : at + random.randint(1, 80)] = random.choice((bytes(40), random.randbytes(40), b"\xff" * 8, b"9" * 30))
    path.write_bytes(data)


def swap_halves(path: Path, random: Random) -> None:
    """Entries of an index in the wrong order, batches of a log too."""
    data = path.read_bytes()
    half = len(data) // 2 // 24 * 24
    path.write_bytes(data[half:] + data[:half])


def empty(path: Path, random: Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, random: Random) -> None:
    path.unlink()


def put_a_foreign_file(path: Path, random: Random) -> None:
    """Another file of the directory under this name."""
    shutil.copyfile(random.choice(sorted(path.parent.iterdir())), path.with_name(path.name + ".copy"))
    os.replace(path.with_name(path.name + ".copy"), path)


def sign_a_lie(path: Path, random: Random) -> None:
    """A field of a batch's header, or a byte of its records, that lies under a right checksum."""
    data = bytearray(path.read_bytes())
    with contextlib.suppress(CorruptRecordError, IndexError):
        positions, at = [], 0
        while at < len(data):
            positions.append(at)
            at += BatchHeader.parse(data, at).size_bytes
        at = random.choice(positions)
        end = at + BatchHeader.parse(data, at).size_bytes
        if random.random() < 0.5:
            field, size = random.choice(
                [(0, 8), (21, 2), (23, 4), (27, 8), (35, 8), (43, 8), (51, 2), (53, 4), (57, 4)]
            )
            lie = random.choice((0, 1, 3, 0x7F, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1))
            data[at + field : at + field + size] = lie.to_bytes(size, "big")
        else:
            data[random.randrange(at + 61, end)] = random.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
        data[at + 17 : at + 21] = crc32c(bytes(data[at + 21 : end])).to_bytes(4, "big")
    path.write_bytes(data)


DAMAGE: list[Callable[[Path, Random], None]] = [
    flip_bits, flip_bits, flip_bits, truncate, append_garbage, overwrite, swap_halves, empty, remove,
    put_a_foreign_file, sign_a_lie,
]  # fmt: skip


def damage(directory: Path, random: Random) -> list[str]:
    """Do some of it; what was done, in words."""
    done = []
    for _ in range(random.randint(1, 3)):
        path = random.choice(sorted(directory.iterdir()))
        act = random.choice(DAMAGE if path.suffix == ".log" else DAMAGE[:-1])
        act(path, random)
        done.append(f"{act.__name__} {path.name}")
    return done


# --- what must hold ---------------------------------------------------------------------------------------------------


def make_log(directory: Path, random: Random) -> None:
    write_log(directory, SEGMENTS, clean=random.random() < 0.5)
    storage = OsStorage()
    checkpoint.write_leader_epochs(storage, str(directory), [checkpoint.EpochStart(0, 0), checkpoint.EpochStart(1, 30)])
    checkpoint.write_recovery_point(storage, str(directory), random.choice((0, 24, 30, END)))
    producer = ProducerEntry(7, 0, 11, 23, 1, 1000)
    (directory / f"{24:020d}.snapshot").write_bytes(encode_snapshot([producer]))


def value_at(offset: int) -> bytes:
    return b"value %06d" % offset


def expect_it_names(error: ShmlogError, *names: str) -> None:
    assert any(name in str(error) for name in names), error


def contents_of(records: Iterable[Record]) -> list[tuple[object, ...]]:
    return [(record.offset, record.timestamp_ms, record.key, record.value) for record in records]


def read_cold(directory: Path, start: int, *, signed_lies: bool) -> None:
    """Every record that comes is the one that stands at its offset, and none is left out silently."""
    reader = ColdReader(str(directory))
    position = start
    try:
        while position < END and (chunk := reader.read(position, 500, END)) is not None:
            records, following, consumed, leader_epoch = decode_batches(chunk, "t", 0, position, END, 1000)
            columns = decode_columns(chunk, "t", 0, position, END, 1000)
            assert (contents_of(columns[0]), *columns[1:]) == (contents_of(records), following, consumed, leader_epoch)
            assert following > position, "a read that gets nowhere"
            if not signed_lies:
                assert [record.offset for record in records] == list(range(position, following))
                assert [record.value for record in records] == [value_at(record.offset) for record in records]
            for record in records:
                record.headers  # noqa: B018  (decoding is what is tested)
            position = following
        reader.offset_for_timestamp(1005, END)
    except OffsetOutOfRangeError:
        pass  # the first segments are gone
    except ShmlogError as error:
        expect_it_names(error, str(directory), "offset")
    finally:
        reader.close()


def look_at_every_file(directory: Path) -> None:
    runner = CliRunner()
    names = [str(path) for path in directory.iterdir() if path.suffix in (".log", ".index", ".timeindex", ".snapshot")]
    for name in names:
        for command in (["verify"], ["dump"], ["dump", "--records"], ["dump", "-o", "json"]):
            found = runner.invoke(segment, [*command, name])
            if found.exception is not None and not isinstance(found.exception, (SystemExit, ShmlogError, OSError)):
                raise found.exception


def reopen(directory: Path, *, signed_lies: bool) -> None:
    """Opening keeps what is sound and goes on, or refuses; a second opening finds nothing more to mend."""
    try:
        log = open_log(directory)
    except ShmlogError as error:
        expect_it_names(error, str(directory))
        return
    end = log.log_end_offset
    log.append(encode_batch([NewRecord(b"new")], base_offset=end))
    read: list[bytes] = []
    try:
        for chunk in log.batches(log.log_start_offset):
            read += [record.value or b"" for record in decode_batches(chunk, "t", 0, 0, 1 << 62, 1 << 30)[0]]
    except CorruptRecordError as error:
        expect_it_names(error, str(directory), "offset")  # a segment that was synced is left as it is
    else:
        if not signed_lies:
            assert read == [value_at(offset) for offset in range(log.log_start_offset, end)] + [b"new"]
    log.close(clean=True)
    again = open_log(directory)
    assert again.log_end_offset == end + 1
    again.close(clean=True)


def own(directory: Path) -> None:
    """An owner over what is left: it starts, and what it is given arrives; or it says why not."""
    with contextlib.ExitStack() as stack:
        try:
            rig = stack.enter_context(open_rig(directory, epoch=5))
        except ShmlogError as error:
            expect_it_names(error, str(directory))
            return
        begin = rig.publisher.tail_offset
        rig.lane(producer_id=8).send_all(b"1", b"2")
        rig.run()
        assert [record.value for record in rig.read_all(begin)] == [b"1", b"2"]


def try_seed(where: Path, seed: int) -> None:
    random = Random(seed)
    directory = where / DIRECTORY
    make_log(directory, random)
    done = damage(directory, random)
    signed_lies = any(deed.startswith(("sign_a_lie",)) for deed in done)
    try:
        for start in {0, 24, random.randrange(END), END - 1}:
            read_cold(directory, start, signed_lies=signed_lies)
        look_at_every_file(directory)
        shutil.copytree(directory, where / "copy" / DIRECTORY)
        reopen(directory, signed_lies=signed_lies)
        own(where / "copy" / DIRECTORY)
    except BaseException as error:
        error.add_note(f"seed {seed}: {', '.join(done)}")
        raise


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_read_rightly_or_refused(tmp_path: Path, seed: int) -> None:
    try_seed(tmp_path, seed)


@pytest.mark.long
def test_many_seeds_of_damaged_files(tmp_path: Path, boxed_seeds: Iterator[int]) -> None:
    for seed in boxed_seeds:
        where = tmp_path / str(seed)
        where.mkdir()
        try_seed(where, seed)
        shutil.rmtree(where)


# --- what was found, one by one ---------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / DIRECTORY


def test_a_segment_that_is_missing_is_an_error_for_a_cold_reader(directory: Path) -> None:
    write_log(directory, SEGMENTS, clean=True)
    log_file(directory, 24).unlink()
    reader = ColdReader(str(directory))
    chunk = reader.read(20, 500, END)
    assert chunk is not None
    assert decode_batches(chunk, "t", 0, 20, END, 1000)[1] == 24
    with pytest.raises(CorruptRecordError, match=r"begins with offset 48, and offset 24 is nowhere before it"):
        reader.read(24, 500, END)
    reader.close()


def test_a_segment_that_is_missing_is_said_when_its_neighbour_is_looked_at_and_stops_a_replay(directory: Path) -> None:
    write_log(directory, SEGMENTS, clean=True)
    log_file(directory, 24).unlink()
    log = open_log(directory)
    assert "ends at offset 24, and the next file begins at 48: a file is missing" in look_at_segments(log)
    with pytest.raises(CorruptRecordError, match="ends at offset 24, and the next file begins at 48"):
        list(log.batches())
    log.close(clean=True)


@pytest.mark.parametrize("name", ["recovery-point", "high-watermark", "clean-shutdown", "leader-epoch-checkpoint"])
@pytest.mark.parametrize("digits", [19, 5000])
def test_a_number_that_is_too_long_is_damage(directory: Path, name: str, digits: int) -> None:
    write_log(directory, SEGMENTS, clean=True)
    (directory / name).write_text("0\n" + "9" * digits + "\n")
    log = open_log(directory)
    assert log.log_end_offset == END
    log.close(clean=True)


def test_a_name_with_a_number_that_is_no_offset_is_not_a_segment(directory: Path) -> None:
    write_log(directory, SEGMENTS, clean=False)
    (directory / ("9" * 20 + ".log")).write_bytes(batch_at(0))
    log = open_log(directory)
    assert log.log_end_offset == END
    log.close(clean=True)


def test_offsets_too_far_from_their_segment_are_cut_off_and_named(directory: Path) -> None:
    write_log(directory, [2], clean=False)
    for base_offset in (4, 4 + 0x7FFFFFFF):
        batch = bytearray(encode_batch([NewRecord(b"many")], base_offset=base_offset))
        batch[23:27], batch[57:61] = (0x7FFFFFFE).to_bytes(4, "big"), (0x7FFFFFFF).to_bytes(4, "big")
        batch[17:21] = crc32c(bytes(batch[21:])).to_bytes(4, "big")
        with log_file(directory, 0).open("ab") as file:
            file.write(batch)
    log = open_log(directory)
    assert log.log_end_offset == 4
    assert f"{log_file(directory, 0)}: the batch at offset 4 " in log.recovered
    log.close(clean=True)


def test_meta_properties_that_are_not_text_are_refused_by_name(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "meta.properties").write_bytes(b"version=\xff\ncluster.id=\xfe\n")
    runtime = RuntimePaths(str(tmp_path / "run" / "name"))
    with pytest.raises(ForeignVersionError, match=str(data_dir)):
        enter("name", runtime, str(data_dir), directory_mode=0o700, group=None)
