"""Real processes, a real kernel and a real ext4, on a disk whose power goes out and whose writes can fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import shmlog
from shmlog.testing import fuse_disk, wait_until
from shmlog.testing.fuse_disk import FuseDisk
from shmlog.testing.whole_topic import read_all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(fuse_disk.missing()), reason=fuse_disk.missing()),
]

DISK_BYTES = 64 << 20
SYNCED = {"flush.messages": 1, "max.message.bytes": 65536, "segment.bytes": 1 << 20}
LAZY = {"max.message.bytes": 65536, "segment.bytes": 1 << 20}
CUTS = 3
RECORDS_BETWEEN_CUTS = 300
DEADLINE_S = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[FuseDisk, Path]]:
    with fuse_disk.ext4_on_a_disk(tmp_path / "disk", DISK_BYTES) as made:
        yield made


def read(cluster: shmlog.Cluster, topic: str) -> dict[int, list[int]]:
    """The numbers that a topic's records begin with, by partition."""
    found: dict[int, list[int]] = {}
    for record in read_all(cluster, topic):
        assert record.value is not None
        found.setdefault(record.partition, []).append(int(record.value[:8]))
    return found


def after_the_cut(image: bytes, place: Path, check: Callable[[shmlog.Cluster], None]) -> None:
    """Start a cluster on what the disk holds."""
    path = place.with_suffix(".image")
    path.write_bytes(image)
    with fuse_disk.mounted(path, place) as file_system, shmlog.start(file_system / "data") as cluster:
        check(cluster)
    path.unlink()


def test_what_was_acknowledged_as_synced_is_there_after_the_power_was_cut(
    disk: tuple[FuseDisk, Path], tmp_path: Path
) -> None:
    device, file_system = disk
    acknowledged: list[int] = []
    stop = threading.Event()
    cuts: list[tuple[int, bytes]] = []

    def acknowledged_are(wanted: int) -> bool:
        return len(acknowledged) >= wanted

    def produce(cluster: shmlog.Cluster) -> None:
        number = 0
        with cluster.producer() as producer:
            while not stop.is_set():
                for _ in range(20):
                    value = b"%08d" % number + bytes(1500)
                    producer.send("synced", value, key=value[:8])
                    producer.send("lazy", value)
                    number += 1
                producer.flush(timeout=DEADLINE_S)
                acknowledged.extend(range(number - 20, number))

    with shmlog.start(file_system / "data") as cluster:
        cluster.admin.create_topic("synced", partitions=2, config=SYNCED)
        cluster.admin.create_topic("lazy", config=LAZY)
        producing = threading.Thread(target=produce, args=(cluster,))
        producing.start()
        for seed in range(CUTS):
            assert wait_until(partial(acknowledged_are, (seed + 1) * RECORDS_BETWEEN_CUTS), timeout_s=DEADLINE_S)
            known = len(acknowledged)
            cuts.append((known, device.cut(seed)))
        stop.set()
        producing.join()

    for number, (known, image) in enumerate(cuts):

        def check(cluster: shmlog.Cluster, known: int = known) -> None:
            synced = read(cluster, "synced")
            assert sorted(synced) == [0, 1]
            assert all(numbers == sorted(set(numbers)) for numbers in synced.values())
            assert set(range(known)) <= {number for numbers in synced.values() for number in numbers}
            lazy = read(cluster, "lazy").get(0, [])
            assert lazy == list(range(len(lazy)))
            with cluster.producer() as producer:
                assert producer.send("lazy", b"%08d" % len(lazy)).result(DEADLINE_S).offset == len(lazy)

        after_the_cut(image, tmp_path / f"after{number}", check)


def test_a_sync_that_the_disk_really_fails_is_made_good(disk: tuple[FuseDisk, Path], tmp_path: Path) -> None:
    device, file_system = disk

    def refuse_the_first(data: bytes) -> bool:
        return device.refused == 0 and b"unwelcome" in data

    device.refuse = refuse_the_first
    with shmlog.start(file_system / "data") as cluster:
        cluster.admin.create_topic("synced", config=SYNCED)
        with cluster.producer() as producer:
            for number in range(50):
                value = b"%08d" % number + (b"unwelcome" if number == 20 else b"")
                assert producer.send("synced", value).result(DEADLINE_S).offset == number
        assert device.refused == 1
        status = subprocess.run(
            [sys.executable, "-P", "-m", "shmlog.cli.main", "status", "--name", cluster.name],
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE_S,
        )
        assert "synced-0: 1 failed sync, made good in new files; look at the disk" in status.stderr
        assert read(cluster, "synced") == {0: list(range(50))}
        image = device.cut(0)

    def check(cluster: shmlog.Cluster) -> None:
        assert read(cluster, "synced") == {0: list(range(50))}

    after_the_cut(image, tmp_path / "after", check)
