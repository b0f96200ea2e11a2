"""fork() without exec, with a producer and a consumer in use: the child is told, and the parent notices nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import shmlog
from shmlog.control.paths import runtime_paths
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from shmlog.testing.whole_topic import read_all

PROGRAM_S = 60.0
DEADLINE_S = 20.0

COMMON = """
import atexit, ctypes, gc, multiprocessing, os, signal, sys, threading
import shmlog

def fork_and_run(how, work, end):
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=run_and_end, args=(work, end))
        process.start()
        return process.pid
    pid = os.fork() if how == "os.fork" else ctypes.PyDLL(None).fork()
    if pid == 0:
        run_and_end(work, end)
    return pid

def fail(kind, error, trace):
    sys.__excepthook__(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)  # whatever threads do

sys.excepthook = fail

def run_and_end(work, end):
    try:
        work()
    except BaseException as error:
        os.write(2, f"in the child: {error!r}\\n".encode())
        os._exit(1)
    if end == "os._exit":
        os._exit(0)
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(0)

def ended_well(pid, end):
    status = os.waitpid(pid, 0)[1]
    expected = -signal.SIGKILL if end == "killed" else 0
    assert os.waitstatus_to_exitcode(status) == expected, status

def must_refuse(*uses):
    for use in uses:
        try:
            use()
        except shmlog.ForkedHandleError as error:
            assert "before fork(); open a new one in the child" in str(error), error
        else:
            raise AssertionError(f"{use} worked in a forked child")
"""

IN_USE = """
name, how, end = sys.argv[1:]
cluster = shmlog.connect(name)
producer = cluster.producer(linger_ms=1000)
consumer = cluster.consumer("flights")
atexit.register(cluster.close)  # as careful programs do; a child that leaves with sys.exit() runs it, too

def in_the_child():
    must_refuse(
        lambda: producer.send("flights", b"never"),
        lambda: producer.send_many("flights", [b"never"]),
        producer.flush,
        producer.metrics,
        consumer.poll,
        lambda: next(consumer),
        lambda: consumer.seek(shmlog.TopicPartition("flights", 0), 0),
        consumer.metrics,
        cluster.describe,
        cluster.producer,
        lambda: cluster.consumer("flights"),
        lambda: cluster.admin,
        lambda: delivery.result(1.0),
    )
    for handle in (producer, consumer, cluster):
        handle.close()
    with shmlog.connect(name) as own, own.producer() as mine:
        mine.send("flights", b"child").result(20.0)
        with own.consumer("flights", consumer_timeout_ms=300) as theirs:
            assert b"child" in [record.value for record in theirs]
    gc.collect()

def send(first, stop):
    for number in range(first, stop):
        delivery = producer.send("flights", b"%d" % number)
    return delivery

delivery = send(0, 100)
seen = consumer.poll(max_records=10, timeout=20.0)  # some are read ahead now
for turn in range(2):
    delivery = send(100 * turn + 100, 100 * turn + 199)
    delivery = send(100 * turn + 199, 100 * turn + 200)  # in the open batch, for linger.ms
    ended_well(fork_and_run(how, in_the_child, end), end)
    assert delivery.result(20.0)
    seen += consumer.poll(timeout=20.0)
connection = cluster.connection
assert (connection.registrations, connection.reconnects) == (1, 0), "the parent had to connect again"
producer.flush(20.0)
while len(seen) < 302:
    more = consumer.poll(timeout=20.0)
    assert more, f"{len(seen)} of 302 records"
    seen += more
assert sorted(record.value for record in seen) == sorted([b"%d" % n for n in range(300)] + 2 * [b"child"])
"""

UNDER_LOAD = """
name, how, end = sys.argv[1:]
cluster = shmlog.connect(name)
producer = cluster.producer()
consumer = cluster.consumer("flights")
stop = threading.Event()
sent, seen = [0], []

def sending():
    while not stop.wait(0.0002):  # some thousands a second
        producer.send("flights", b"%d" % sent[0])
        sent[0] += 1

def reading():
    while not stop.is_set() or len(seen) < sent[0]:
        seen.extend(consumer.poll(timeout=0.2))

def in_the_child():
    must_refuse(lambda: producer.send("flights", b"never"), consumer.poll, producer.flush)
    gc.collect()

threads = [threading.Thread(target=work) for work in (sending, reading)]
for thread in threads:
    thread.start()
for _ in range(10):
    ended_well(fork_and_run(how, in_the_child, end), end)
stop.set()
threads[0].join()
producer.flush(20.0)
threads[1].join()
assert sorted(int(record.value) for record in seen) == list(range(sent[0]))
"""

PREFORK = """
name, how, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
cluster = shmlog.connect(name)
producer = cluster.producer(linger_ms=1000)
producer.send("flights", b"master")

def serve(worker):
    handle = producer
    for request in range(100):
        try:
            handle.send("flights", b"%d.%d" % (worker, request))
        except shmlog.ForkedHandleError:
            handle = shmlog.connect(name).producer()
            handle.send("flights", b"%d.%d" % (worker, request))
    os.write(1, b"served %d\\n" % os.getpid())
    signal.pause()

for worker in range(workers):
    fork_and_run(how, lambda: serve(worker), "os._exit")
signal.pause()
"""

HOST = """
name, directory, how = sys.argv[1:]
cluster = shmlog.start(directory, name=name)
cluster.admin.create_topic("flights", partitions=1)
producer = cluster.producer(linger_ms=1000)
for number in range(100):
    producer.send("flights", b"%d" % number)
child = fork_and_run(how, signal.pause, "os._exit")
os.write(1, b"%d\\n" % child)
signal.pause()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as started:
        started.admin.create_topic("flights", partitions=2)
        yield started


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-W", "ignore", "-c", COMMON + program, *arguments]


def run(program: str, *arguments: str) -> None:
    done = subprocess.run(command(program, *arguments), capture_output=True, text=True, check=False, timeout=PROGRAM_S)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def everything(cluster: shmlog.Cluster, at_least: int) -> Counter[bytes]:
    return Counter(record.value for record in read_all(cluster, "flights", at_least=at_least))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("os.fork", "os._exit"),
        ("os.fork", "sys.exit"),
        ("os.fork", "killed"),
        ("fork in C", "sys.exit"),
        ("multiprocessing", "sys.exit"),
    ],
)
def test_a_child_may_use_only_handles_of_its_own_and_takes_nothing_with_it(
    cluster: shmlog.Cluster, how: str, end: str
) -> None:
    run(IN_USE, cluster.name, how, end)
    assert sum(everything(cluster, 302).values()) == 302
    wait_until(lambda: len(cluster.describe().clients) == 1, timeout_s=DEADLINE_S)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "end"),
    # Not in C: with threads, a child that Python does not know of waits for the interpreter's lock for ever.
    [("os.fork", "sys.exit"), ("os.fork", "os._exit"), ("multiprocessing", "sys.exit")],
)
def test_forks_in_the_middle_of_sending_and_reading_lose_and_repeat_nothing(
    cluster: shmlog.Cluster, how: str, end: str
) -> None:
    run(UNDER_LOAD, cluster.name, how, end)


@pytest.mark.parametrize("how", ["os.fork", "fork in C"])
def test_workers_forked_in_advance_make_producers_of_their_own_and_outlive_their_master(
    cluster: shmlog.Cluster, how: str
) -> None:
    workers = 3
    served = []
    with killed_afterwards(
        subprocess.Popen(command(PREFORK, cluster.name, how, str(workers)), stdout=subprocess.PIPE)
    ) as master:
        assert master.stdout is not None
        served = [int(master.stdout.readline().split()[1]) for _ in range(workers)]
        try:
            assert len(cluster.describe().clients) == 2 + workers
            master.kill()  # its socket, its life file and its memory are still in its workers' hands
            wait_until(lambda: len(cluster.describe().clients) == 1 + workers, timeout_s=DEADLINE_S)
        finally:
            for pid in served:
                os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(cluster.describe().clients) == 1, timeout_s=DEADLINE_S)
    expected = {b"%d.%d" % (worker, request) for worker in range(workers) for request in range(100)}
    assert everything(cluster, 1 + len(expected)) == Counter({b"master", *expected})


@pytest.mark.parametrize("how", ["os.fork", "fork in C"])
def test_an_embedded_cluster_ends_when_its_host_is_killed_even_if_a_child_of_the_host_lives_on(
    tmp_path: Path, how: str
) -> None:
    with killed_afterwards(
        subprocess.Popen(command(HOST, "hosted", str(tmp_path / "data"), how), stdout=subprocess.PIPE)
    ) as host:
        assert host.stdout is not None
        child = int(host.stdout.readline())
        try:
            host.kill()
            host.wait()
            wait_until(lambda: not os.path.exists(runtime_paths("hosted").directory), timeout_s=DEADLINE_S)
        finally:
            os.kill(child, signal.SIGKILL)
    with shmlog.start(tmp_path / "data") as cluster:
        assert everything(cluster, 100) == Counter(b"%d" % number for number in range(100))  # accepted means delivered
