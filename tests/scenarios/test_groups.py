"""Groups of real processes: they share partitions, are killed, stopped and restarted, and lose nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

import shmlog
from shmlog import OffsetAndMetadata, TopicPartition
from shmlog.errors import (
    CommitFailedError,
    InconsistentGroupProtocolError,
    InvalidRequestError,
    NonEmptyGroupError,
    UnknownTopicOrPartitionError,
)
from shmlog.model import OFFSETS_TOPIC
from shmlog.testing import wait_until

pytestmark = pytest.mark.slow

PARTITIONS = 4
ALL = set(range(PARTITIONS))
PROGRAM = """
import json, signal, sys
import shmlog

def tell(**message):
    print(json.dumps(message), flush=True)

def told(what):
    return lambda consumer, partitions: tell(what=what, partitions=[str(one) for one in partitions])

name, settings = sys.argv[1], json.loads(sys.argv[2])
topics = settings.pop("topics")
callbacks = {f"on_{what}": told(what) for what in ("assign", "revoke", "lost")}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with shmlog.connect(name) as cluster, cluster.consumer(*topics, **callbacks, **settings) as consumer:
    tell(what="joined", member=consumer.member_id)
    while True:
        for record in consumer.poll(10, timeout=0.2):
            tell(what="record", partition=f"{record.topic}-{record.partition}", offset=record.offset)
"""


class Member:
    """A process with a consumer in the group, which tells what happens to it."""

    def __init__(self, cluster: shmlog.Cluster, *topics: str, **settings: object) -> None:
        given = {"group_id": "delays", "auto_offset_reset": "earliest", "topics": topics or ("flights",)} | settings
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, cluster.name, json.dumps(given)], stdout=subprocess.PIPE, text=True
        )
        self.heard: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        wait_until(lambda: self.of("joined") or self.process.poll() is not None)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(json.loads(line))

    def of(self, what: str) -> list[dict[str, Any]]:
        return [message for message in list(self.heard) if message["what"] == what]

    @property
    def has(self) -> set[str]:
        """The partitions that it reads by now."""
        found: set[str] = set()
        for message in list(self.heard):
            if message["what"] == "assign":
                found |= set(message["partitions"])
            elif message["what"] in ("revoke", "lost"):
                found -= set(message["partitions"])
        return found

    def offsets(self, partition: str) -> list[int]:
        return [message["offset"] for message in self.of("record") if message["partition"] == partition]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", partitions=PARTITIONS)
        yield cluster


def produce(cluster: shmlog.Cluster, count: int, topic: str = "flights", partitions: int = PARTITIONS) -> None:
    """So many records more in each partition."""
    with cluster.producer() as producer:
        for partition in range(partitions):
            producer.send_many(topic, [b"%d" % number for number in range(count)], partition=partition)


def together(*members: Member) -> bool:
    """Whether they have all partitions of `flights`, each its own."""
    counts = [len(member.has) for member in members]
    return sum(counts) == PARTITIONS and set().union(*(member.has for member in members)) == {
        f"flights-{number}" for number in ALL
    }


def have_read(offset: int, *members: Member) -> bool:
    """Whether they have read all that they have up to this offset."""
    return all(max(one.offsets(key), default=0) == offset for one in members for key in one.has)


def committed(cluster: shmlog.Cluster) -> dict[TopicPartition, int]:
    return {one: known.offset for one, known in cluster.admin.list_consumer_group_offsets("delays").items()}


def kill_coordinator(cluster: shmlog.Cluster) -> None:
    """The one that runs, which may be the successor of one that was killed a moment ago."""

    def is_killed() -> bool:
        pid = cluster.admin.describe_topic(OFFSETS_TOPIC).partitions[0].pid
        if pid > 0:
            with suppress(ProcessLookupError):  # it is the one that was killed, and nobody has noticed yet
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    wait_until(is_killed)


def test_members_share_and_who_is_killed_leaves_its_partitions_and_nothing_unread(cluster: shmlog.Cluster) -> None:
    produce(cluster, 50)
    with Member(cluster) as a, Member(cluster) as b:
        wait_until(lambda: together(a, b) and len(a.has) == 2)
        produce(cluster, 50)
        wait_until(lambda: all(max(one.offsets(key), default=0) == 99 for one in (a, b) for key in one.has))
        moving = b.has
        b.kill()
        wait_until(lambda: together(a))
        produce(cluster, 50)
        wait_until(lambda: all(max(a.offsets(f"flights-{number}"), default=0) == 149 for number in ALL))
        for key in moving:
            seen = a.offsets(key) + b.offsets(key)
            assert set(seen) == set(range(150))
            assert len(seen) - 150 <= 10 + 50, "again came more than the last poll of the dead, and what it took over"


def test_a_member_that_was_stopped_for_too_long_is_fenced_and_comes_back_without_committing_over_others(
    cluster: shmlog.Cluster,
) -> None:
    with Member(cluster, max_poll_interval_ms=500) as slow, Member(cluster) as other:
        wait_until(lambda: together(slow, other) and len(slow.has) == 2)
        slow.signal(signal.SIGSTOP)
        lost, fences = slow.has, len(slow.of("lost"))  # a machine that was slow may have fenced it before
        produce(cluster, 30)
        wait_until(lambda: together(other))
        wait_until(lambda: all(known >= 30 for known in committed(cluster).values()) and len(committed(cluster)) == 4)
        slow.signal(signal.SIGCONT)
        wait_until(lambda: len(slow.of("lost")) > fences and together(slow, other) and len(slow.has) == 2)
        assert set(slow.of("lost")[fences]["partitions"]) == lost
        assert all(known >= 30 for known in committed(cluster).values())
        produce(cluster, 10)
        wait_until(lambda: all(max(one.offsets(key), default=0) == 39 for one in (slow, other) for key in one.has))


def test_a_static_member_that_is_killed_has_its_partitions_again_when_it_comes_back(cluster: shmlog.Cluster) -> None:
    with Member(cluster, group_instance_id="one") as first, Member(cluster, group_instance_id="two") as other:
        wait_until(lambda: together(first, other) and len(first.has) == 2)
        had = first.has
        first.kill()
        with Member(cluster, group_instance_id="one") as again:
            wait_until(lambda: again.has == had)
            produce(cluster, 5)
            wait_until(lambda: all(max(one.offsets(key), default=0) == 4 for one in (again, other) for key in one.has))
        assert len(other.of("assign") + other.of("revoke")) == len(other.of("assign")), "nobody else moved"


def test_a_coordinator_that_is_killed_is_replaced_while_everybody_reads_on(cluster: shmlog.Cluster) -> None:
    with Member(cluster) as a, Member(cluster) as b:
        wait_until(lambda: together(a, b) and len(a.has) == 2)
        had = a.has, b.has
        for end in (9, 19, 29):
            kill_coordinator(cluster)
            produce(cluster, 10)
            reached = partial(have_read, end, a, b)
            wait_until(reached)
        wait_until(lambda: len(committed(cluster)) == 4 and set(committed(cluster).values()) == {30})
        assert (a.has, b.has) == had
        assert not a.of("lost") + b.of("lost")
        for one in (a, b):
            for key in one.has:
                assert one.offsets(key) == list(range(30)), "nothing came twice"
        b.kill()
        wait_until(lambda: together(a))


def test_partitions_move_and_commits_go_on_while_the_supervisor_stands_still(cluster: shmlog.Cluster) -> None:
    supervisor = cluster.describe().pid
    with Member(cluster) as a, Member(cluster) as b:
        wait_until(lambda: together(a, b) and len(a.has) == 2)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            b.kill()
            wait_until(lambda: together(a))
        finally:
            os.kill(supervisor, signal.SIGCONT)
        produce(cluster, 10)
        wait_until(lambda: all(max(a.offsets(f"flights-{number}"), default=0) == 9 for number in ALL))


def test_a_commit_is_made_although_the_coordinator_is_killed(cluster: shmlog.Cluster) -> None:
    produce(cluster, 20)
    with cluster.consumer("flights", group_id="delays", auto_offset_reset="earliest", enable_auto_commit=False) as mine:
        wait_until(lambda: mine.poll(timeout=0.1) or len(mine.assignment()) == PARTITIONS)
        for offset in range(1, 6):
            kill_coordinator(cluster)
            mine.commit(dict.fromkeys(mine.assignment(), offset))
            assert set(committed(cluster).values()) == {offset}
        assert mine.committed() == {one: OffsetAndMetadata(5) for one in mine.assignment()}


def test_a_pattern_has_topics_that_come_later(cluster: shmlog.Cluster) -> None:
    produce(cluster, 5)
    with Member(cluster, "^fli.*|weather") as member:
        wait_until(lambda: len(member.has) == PARTITIONS)
        cluster.admin.create_topic("weather", partitions=2)
        cluster.admin.create_topic("whether")
        produce(cluster, 5, "weather", 2)
        wait_until(lambda: len(member.has) == PARTITIONS + 2)
        wait_until(lambda: member.offsets("weather-0") == member.offsets("weather-1") == [0, 1, 2, 3, 4])
        cluster.admin.delete_topic("weather")
        wait_until(lambda: len(member.has) == PARTITIONS)
        assert member.process.poll() is None


def read_in_a_child(name: str, ready: Any, done: Any) -> None:
    """A worker process of its own, as prefork servers have them."""
    with (
        shmlog.connect(name) as cluster,
        cluster.consumer("flights", group_id="delays", auto_offset_reset="earliest") as consumer,
    ):
        wait_until(lambda: not consumer.poll(timeout=0.05) and len(consumer.assignment()) == 2)
        ready.set()
        wait_until(lambda: consumer.poll(timeout=0.05) == [] and done.is_set())


@pytest.mark.parametrize("how", ["commit", "close"])
def test_what_was_read_of_a_deleted_topic_skips_nothing_of_the_next_one_of_its_name(
    cluster: shmlog.Cluster, how: str
) -> None:
    produce(cluster, 50)
    with cluster.consumer("flights", group_id="delays", auto_offset_reset="earliest") as first:
        wait_until(lambda: first.poll() is not None and set(first.lag().values()) == {0})
        cluster.admin.delete_topic("flights")
        cluster.admin.create_topic("flights", partitions=PARTITIONS)
        produce(cluster, 60)
        if how == "commit":
            with pytest.raises(UnknownTopicOrPartitionError, match="that was read is gone"):
                first.commit()
    assert committed(cluster) == {}


def test_forked_workers_join_by_themselves(cluster: shmlog.Cluster) -> None:
    fork = multiprocessing.get_context("fork")
    with cluster.consumer("flights", group_id="parents") as parents:
        parents.poll()
        done = fork.Event()
        ready = [fork.Event() for _ in range(2)]
        workers = [fork.Process(target=read_in_a_child, args=(cluster.name, one, done)) for one in ready]
        with ExitStack() as ends:
            for worker in workers:
                worker.start()
                ends.callback(worker.kill)
            wait_until(lambda: all(one.is_set() for one in ready))
            (group,) = cluster.admin.describe_consumer_groups(["delays"])
            assert {member.pid for member in group.members} == {worker.pid for worker in workers}
            done.set()
            for worker in workers:
                worker.join(20)
                assert worker.exitcode == 0
        parents.poll()
        assert parents.assignment() == {TopicPartition("flights", number) for number in ALL}


def test_what_cannot_be_is_refused_and_nothing_is_lost(cluster: shmlog.Cluster) -> None:
    produce(cluster, 10)
    with Member(cluster) as member:
        wait_until(lambda: together(member))
        with pytest.raises(InconsistentGroupProtocolError):
            cluster.consumer("flights", group_id="delays", partition_assignment_strategy="range")
        with cluster.consumer(group_id="delays") as outsider:
            outsider.assign([TopicPartition("flights", 0)])
            with pytest.raises(NonEmptyGroupError):
                outsider.commit({TopicPartition("flights", 0): 1})
        with cluster.consumer("flights", group_id="others", enable_auto_commit=False) as other:
            wait_until(lambda: other.poll() or len(other.assignment()) == PARTITIONS)
            with pytest.raises(InvalidRequestError, match="its log ends at 10"):
                other.commit({TopicPartition("flights", 0): 11})
            with pytest.raises(UnknownTopicOrPartitionError, match="nothing was committed"):
                other.commit({TopicPartition("flights", 0): 1, TopicPartition("flights", 9): 1})
            assert other.committed() == dict.fromkeys(other.assignment())
        wait_until(lambda: all(len(member.offsets(f"flights-{number}")) == 10 for number in ALL))
        with cluster.consumer("flights", group_id="delays", enable_auto_commit=False) as second:
            wait_until(lambda: second.poll(timeout=0.05) == [] and len(second.assignment()) == 2)
            (theirs, *_) = {TopicPartition("flights", number) for number in ALL} - second.assignment()
            with pytest.raises(CommitFailedError, match="flights"):
                second.commit({theirs: 1})
