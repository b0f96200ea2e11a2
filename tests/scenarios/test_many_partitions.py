"""Many partitions in one cluster: what each of them takes."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

import shmlog
from shmlog.limits import RING_BYTES_MIN
from shmlog.memory import region
from shmlog.testing import wait_until

PARTITIONS = 14
UNPREPARED = 8  # workers/zygote.py
SHARE = 0.7  # measured: 0.54


def test_owners_of_many_partitions_share_what_the_first_ones_keep_for_themselves(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", partitions=PARTITIONS)
        owners = [psutil.Process(one.pid) for one in cluster.admin.describe_topic("flights").partitions]

        def later_ones_share() -> bool:
            first, *later = [int(one.memory_full_info().uss) for one in [owners[0], *owners[UNPREPARED + 1 :]]]
            return max(later) < SHARE * first

        wait_until(later_ones_share, timeout_s=60.0, what="memory to be given back at the first idle look")
        with cluster.producer() as producer:
            for partition in range(PARTITIONS):
                producer.send("flights", b"%d" % partition, partition=partition)
        with cluster.consumer("flights", consumer_timeout_ms=1000) as consumer:
            assert {record.partition: record.value for record in consumer} == {
                partition: b"%d" % partition for partition in range(PARTITIONS)
            }


def test_a_rehearsal_leaves_nothing_and_idle_rings_are_small(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", partitions=PARTITIONS)
        places = {one.partition_id for one in cluster.admin.describe_topic("flights").partitions}
        pid = cluster.admin.describe_topic("flights").partitions[0].pid
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            tag = next(line for line in maps if ".ctl" in line).rpartition("/shmlog.")[2].partition(".")[0]
        found = region.list_regions(tag)
        numbers = {int(name.split(".")[2][1:]) for name, _ in found if name.split(".")[2][0] == "p"}
        assert numbers == places
        assert {size for name, size in found if ".ring." in name} == {RING_BYTES_MIN}
        assert not [name for name in os.listdir(region.SHM_DIRECTORY) if "rehearsal" in name]
