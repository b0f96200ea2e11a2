"""Races and prefixes that lost a record or killed a process, each shown by its steps. All were found in review."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns

import pytest

import shmlog
from shmlog import settings
from shmlog.client.producer import NativeProducer
from shmlog.control.channel import Channel
from shmlog.control.messages import Close, Closed, CloseLane
from shmlog.errors import InvalidConfigError
from shmlog.memory import layout, names, region
from shmlog.partition.owner import OwnerAgent
from shmlog.record_terms import RecordTerms
from shmlog.testing import wait_until
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig, word_of_ready
from shmlog.testing.whole_topic import read_all

WAIT_S = 60.0

COLLECTED_IN_APPEND = """
import gc, sys, threading
from pathlib import Path
from shmlog.record_terms import RecordTerms
from shmlog.testing.partition_rig import TOPIC_NAME, LaneFullError, open_rig
with open_rig(Path(sys.argv[1]) / "flights-0") as rig:
    lane, go, done, full = rig.lane(), threading.Event(), threading.Event(), []
    def other():
        go.wait()
        try:
            lane.send(TOPIC_NAME, b"other")
        except LaneFullError:
            full.append(b"other")
        done.set()
    thread = threading.Thread(target=other)
    thread.start()
    def collecting(phase, info):  # as any finalizer or weakref callback that gives the GIL away
        if not go.is_set():
            go.set()
            done.wait(5)
    lane.send(TOPIC_NAME, b"first")
    lane.writer.seal()
    gc.collect()
    gc.callbacks.append(collecting)
    gc.set_threshold(1)
    lane.send(TOPIC_NAME, b"mine")
    gc.disable()
    go.set()
    thread.join()
    lane.writer.seal()
    rig.run()
    values = sorted(record.value for record in rig.read_all())
    assert not full, "append said that the lane is full, and took the record all the same"
    assert values == [b"first", b"mine", b"other"], values
"""

CLOSED_WHILE_SENDING = """
import sys, threading, shmlog
from contextlib import suppress
with shmlog.start(sys.argv[1]) as cluster:
    cluster.admin.create_topic("flights", partitions=1)
    here, go = threading.Event(), threading.Event()
    def serialize(value):
        if value == "wait":
            here.set()
            go.wait()
        return value.encode()
    producer = cluster.producer(value_serializer=serialize)
    producer.send("flights", "first").result(20)
    def late():
        with suppress(shmlog.ShmlogError):
            producer.send("flights", "wait")
    thread = threading.Thread(target=late)
    thread.start()
    here.wait()
    producer.close()
    go.set()
    thread.join()
"""

KILLED_WHILE_GROWING = """
import sys
from pathlib import Path
from shmlog.memory import layout
from shmlog.partition import regeneration
from shmlog.record_terms import RecordTerms
from shmlog.testing.partition_rig import TOPIC_NAME, open_rig
class Killed(Exception): pass
def killed(page, ring, index, generation):  # ring_regions.store_ring up to its last store
    page.store(layout.CTL_RING_CAPACITY, ring.size_bytes)
    page.store(layout.CTL_INDEX_ENTRIES, index.size_bytes // layout.IDX_ENTRY_BYTES)
    page.store(layout.CTL_MAX_BATCH, ring.size_bytes // 4)
    raise Killed
with open_rig(Path(sys.argv[1]) / "flights-0", {"max.message.bytes": "65536"}) as rig:
    rig.config["max.message.bytes"] = str(4 << 20)
    whole, regeneration.store_ring = regeneration.store_ring, killed
    try:
        regeneration.grow_ring(rig.spec, 16 << 20, rig.control, rig.publisher)
    except Killed:
        regeneration.store_ring = whole
    rig.take_over(1)
    rig.lane().send(TOPIC_NAME, bytes(3 << 20))
    rig.run()
    assert [len(record.value) for record in rig.read_all()] == [3 << 20]
"""


def run(program: str, directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(directory)], capture_output=True, text=True, check=False, timeout=60
    )
    region.sweep(names.cluster_tag("rig", str(directory / "flights-0")))  # what a crash leaves
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-800:]}"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536"}) as made:
        yield made


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as started:
        started.admin.create_topic("flights", partitions=1)
        yield started


def test_first_sends_of_several_threads_all_arrive(cluster: shmlog.Cluster) -> None:
    producer = cluster.producer()
    assert isinstance(producer, NativeProducer)
    described, both = producer._opener.describe, threading.Barrier(2)

    def describe(topic: str) -> tuple[int, RecordTerms]:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # if both ask, neither has stored what it opened
        return described(topic)

    producer._opener.describe = describe  # type: ignore[method-assign]  # to meet in the middle
    threads = [threading.Thread(target=producer.send, args=("flights", b"%d" % k)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.flush(WAIT_S)
    assert sorted(record.value for record in read_all(cluster, "flights")) == [b"0", b"1"]


def test_a_collection_within_append_does_not_let_another_thread_into_the_lane(tmp_path: Path) -> None:
    run(COLLECTED_IN_APPEND, tmp_path)


def test_closing_a_producer_under_a_send_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    run(CLOSED_WHILE_SENDING, tmp_path)


def test_an_owner_killed_while_it_grows_its_ring_has_a_successor_that_lives(tmp_path: Path) -> None:
    run(KILLED_WHILE_GROWING, tmp_path)


def test_an_owner_killed_before_it_grows_its_ring_has_a_successor_that_does(rig: Rig) -> None:
    rig.config["max.message.bytes"] = str(1 << 20)
    rig.take_over(1)
    rig.lane().send(TOPIC_NAME, bytes(500_000))
    rig.run()
    assert [len(record.value or b"") for record in rig.read_all()] == [500_000]


def test_a_partition_whose_disk_refuses_does_not_close_cleanly(rig: Rig) -> None:
    lane = rig.lane()
    channel, theirs = Channel.pair()
    owners_end = Channel(theirs)
    rig.spec = rig.spec_for(epoch=1)
    owner = OwnerAgent(rig.spec, owners_end)
    word_of_ready(channel)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ending = threading.Thread(target=owner.serve, daemon=True)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        for _ in range(60):
            lane.send(TOPIC_NAME, bytes(1000))
        owner.work(monotonic_ns())
        assert (rig.control.log_end_offset, rig.control.written_offset) == (60, 0)
        channel.send(Close(delete=False))
        ending.start()
        ending.join(1.0)  # waits for room, or for being killed, or ends as "offline": anything but Closed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ending.join(WAIT_S)
    answers = []
    while (answer := channel.receive()) is not None:
        answers.append(answer)
        if isinstance(answer, Closed):
            break
    written = rig.control.written_offset
    channel.close()
    owners_end.close()
    assert not any(isinstance(answer, Closed) for answer in answers) or written == 60


def bad_head(lane: Lane) -> None:
    lane.mapping.store(layout.LANE_HEAD, 3)


def bad_size(lane: Lane) -> None:
    path = region.SHM_DIRECTORY + names.lane(lane.tag, lane.writer.lane_id)
    os.truncate(path, os.path.getsize(path) + 4096)


@pytest.mark.parametrize("spoil", [bad_head, bad_size])
def test_a_spoiled_lane_does_not_kill_the_successor(rig: Rig, spoil: Callable[[Lane], None]) -> None:
    spoiled, sound = rig.lane(), rig.lane(producer_id=8)
    spoiled.send(TOPIC_NAME, b"1")
    rig.run()
    sound.send(TOPIC_NAME, b"2")
    spoil(spoiled)
    rig.take_over(1)
    rig.run()
    assert [record.value for record in rig.read_all()] == [b"1", b"2"]


def test_on_delivery_is_called_for_a_record_whose_lane_closes_around_it(cluster: shmlog.Cluster) -> None:
    producer = cluster.producer()
    assert isinstance(producer, NativeProducer)
    producer.send("flights", b"0").result(WAIT_S)
    lane = producer.topics["flights"].lanes[0]
    assert lane is not None
    connection = producer._connection
    cells = region.open_region(names.lane(connection.tag, lane.lane_id), writable=True)
    pid = cluster.admin.describe_topic("flights").partitions[0].pid
    called: list[object] = []
    os.kill(pid, signal.SIGSTOP)
    try:
        connection.ask(CloseLane(0, lane.lane_id))
        cells.store(layout.LANE_STATE, layout.LaneState.CLOSING)  # which the owner is about to store
        sending = threading.Thread(
            target=lambda: producer.send("flights", b"1", on_delivery=called.append), name="sending"
        )
        sending.start()
        bell = connection.doorbell.mapping
        wait_until(lambda: bell.read(layout.BELL_SLEEPING, 4) != bytes(4) or not sending.is_alive())
    finally:
        os.kill(pid, signal.SIGCONT)
    sending.join(WAIT_S)
    producer.flush(WAIT_S)
    assert len(called) == 1


def test_send_many_reports_its_own_offsets(cluster: shmlog.Cluster) -> None:
    chosen: list[bytes | None] = []

    def partition_of(topic: str, key: bytes | None, count: int) -> int:
        chosen.append(key)
        if chosen == [b"a", b"b"]:
            producer.send(topic, b"other", b"other")  # as another thread would, given the GIL
        return 0

    producer = cluster.producer(partitioner=partition_of, linger_ms=500)
    deliveries = producer.send_many("flights", [b"1", b"2", b"3"], keys=[b"a", b"b", b"c"])
    reported = [delivery.result(WAIT_S).offset for delivery in deliveries]
    assert reported == [record.offset for record in read_all(cluster, "flights") if record.key != b"other"]


def test_lanes_that_their_word_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InvalidConfigError):
        settings.parse("producer", {"lane.bytes": 2**28})
