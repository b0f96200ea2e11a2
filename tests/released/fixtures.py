"""What a version left behind, kept for ever: shared memory and data directories as bytes.

    python tests/released/fixtures.py        makes those of the sources' layout version, unless they are there

Each folder is named after a layout version and is made once, with that version; nobody changes it later, or what it
stands for is not proved any more.
`regions.zip` has the shared memory of a partition whose owner and producers were killed (with records that were
accepted and not yet published) and, since 1.1, of a follower, `log.zip` its log, `cluster.zip` the data directory of a
cluster that was killed, `clean.zip` of one that was closed.
"""

from __future__ import annotations

import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import shmlog
from shmlog.memory import layout
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.testing.partition_rig import open_rig

HERE = Path(__file__).parent
SHM = Path("/dev/shm")
LOG_CONFIG = {"segment.bytes": "1048576", "max.message.bytes": "65536", "index.interval.bytes": "512"}
PUBLISHED, ACCEPTED = 800, 7
FOLLOWER = 3
TOPICS = {"flights": 2, "weather": 1}
RECORDS = 100

_HEADER_BYTES = 88  # of every region since 1.0; a checksum of 4 bytes follows
_BOOT_ID = slice(56, 72)


def value_at(number: int) -> bytes:
    """What the record of that number says, in every fixture."""
    return b"record %d " % number * (number % 512)


def versions() -> list[str]:
    """All that were ever released, oldest first."""
    return sorted(path.name for path in HERE.iterdir() if (path / "regions.zip").exists())


def restore(version: str, what: str, to: Path) -> None:
    """Unpack one of a version's archives."""
    with zipfile.ZipFile(HERE / version / f"{what}.zip") as archive:
        archive.extractall(to)


def restore_regions(version: str, tag: str) -> None:
    """Put the regions of a version's killed partition into shared memory, as if this machine had not booted since."""
    with zipfile.ZipFile(HERE / version / "regions.zip") as archive:
        for name in archive.namelist():
            content = bytearray(archive.read(name))
            if ".ring." not in name and ".idx." not in name:  # they have no header
                content[_BOOT_ID] = layout.boot_id()
                struct.pack_into("<I", content, _HEADER_BYTES, zlib.crc32(content[:_HEADER_BYTES]))
            (SHM / f"shmlog.{tag}.{name}").write_bytes(content)


def make(folder: Path) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory() as directory:
        make_partition(folder, Path(directory, "flights-0"))
        make_clusters(folder, Path(directory, "data"))


def make_partition(folder: Path, directory: Path) -> None:
    with open_rig(directory, LOG_CONFIG) as rig:
        lanes = [rig.lane(producer_id=7), rig.lane(producer_id=8)]
        for number in range(0, PUBLISHED, 10):
            lanes[number // 10 % 2].send_all(*map(value_at, range(number, number + 10)))
            rig.run()
        lanes[0].send_all(*map(value_at, range(PUBLISHED, PUBLISHED + ACCEPTED)))
        ReplicaRegion.create(rig.tag, 1, FOLLOWER, mode=0o600).follow(0, PUBLISHED, PUBLISHED - 1)
        prefix = f"shmlog.{rig.tag}."
        pack(folder / "regions.zip", {path.name.removeprefix(prefix): path for path in SHM.glob(f"{prefix}*")})
        pack_directory(folder / "log.zip", directory)


def make_clusters(folder: Path, data: Path) -> None:
    with shmlog.start(data) as cluster:
        for topic, partitions in TOPICS.items():
            cluster.admin.create_topic(topic, partitions=partitions, config={"retention.ms": "-1"})
        cluster.admin.create_topic("deleted", partitions=1)
        cluster.admin.alter_topic("weather", set={"segment.bytes": "2097152"})
        cluster.admin.delete_topic("deleted")
        with cluster.producer() as producer:
            for topic in TOPICS:
                producer.send_many(topic, [value_at(number) for number in range(RECORDS)], partition=0)
        pack_directory(folder / "cluster.zip", data)
    pack_directory(folder / "clean.zip", data)


def pack_directory(archive: Path, directory: Path) -> None:
    pack(archive, {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()})


def pack(archive: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, path in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def main() -> int:
    folder = HERE / f"{layout.LAYOUT_MAJOR}.{layout.LAYOUT_MINOR}"
    if folder.exists():
        print(f"{folder} is there, and is never made again")
        return 1
    try:
        make(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    print(f"made {folder}: {sum(path.stat().st_size for path in folder.iterdir()) >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
