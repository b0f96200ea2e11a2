"""Members of a group while the whole cluster goes away and comes back: they stay members, and lose no commit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest

import shmlog
from shmlog.testing import wait_until
from tests.scenarios.bare_member import Talk, coordinator_socket, described
from tests.scenarios.conftest import Daemon

pytestmark = pytest.mark.slow
PLACE = shmlog.TopicPartition("flights", 0)


def test_a_member_stays_one_while_its_cluster_is_stopped_and_started(
    real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    lost: list[shmlog.TopicPartition] = []

    def on_lost(consumer: shmlog.Consumer, partitions: Sequence[shmlog.TopicPartition]) -> None:
        lost.extend(partitions)

    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights")
        with cluster.producer() as producer:
            producer.send_many("flights", [b"%d" % number for number in range(10)])
            producer.flush()
        with cluster.consumer(
            "flights", group_id="delays", auto_offset_reset="earliest", enable_auto_commit=False, on_lost=on_lost
        ) as consumer:
            wait_until(lambda: consumer.poll(timeout=0.1))
            member_id = consumer.member_id
            consumer.commit({PLACE: 4}, asynchronous=True)
            assert real_daemon.stop() == 0
            consumer.commit({PLACE: 6}, asynchronous=True)  # while there is nobody to see it
            real_daemon.start()
            with cluster.producer() as producer:
                producer.send("flights", b"10")
                producer.flush()
            wait_until(lambda: consumer.poll(timeout=0.1))

            def committed() -> int:
                consumer.poll()
                found = consumer.committed(PLACE)[PLACE]
                return -1 if found is None else found.offset

            wait_until(lambda: committed() == 6)
            assert (consumer.member_id, consumer.assignment(), lost) == (member_id, {PLACE}, [])


def test_a_member_that_cannot_register_after_a_restart_reads_nothing_before_its_commits_can_be_seen(
    real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    lost: list[shmlog.TopicPartition] = []
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights")
        with cluster.producer() as producer:
            producer.send_many("flights", [b"%d" % number for number in range(10)])
            producer.flush()
        with cluster.consumer(
            "flights",
            group_id="delays",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_interval_ms=1000,
            on_lost=lambda _, partitions: lost.extend(partitions),
        ) as consumer:
            wait_until(lambda: consumer.poll(timeout=0.1))
            assert real_daemon.stop() == 0
            real_daemon.start()
            coordinator = coordinator_socket(real_daemon.peer(), "delays")
            real_daemon.kill()  # the coordinator lives on, and nobody can register
            with closing(Talk(coordinator)) as talk:
                wait_until(lambda: not described(talk, "delays").members)  # it has not polled
                wait_until(lambda: consumer.poll(timeout=0.1) or lost)
                for _ in range(10):
                    assert not consumer.poll(timeout=0.1)
                assert not described(talk, "delays").members
            real_daemon.start()
            wait_until(lambda: consumer.poll(timeout=0.1))
            consumer.commit({PLACE: 6}, asynchronous=True)
            with shmlog.connect("t") as another:
                wait_until(lambda: committed_by(another, consumer) == 6)


def committed_by(cluster: shmlog.Cluster, member: shmlog.Consumer) -> int:
    """What a group has committed, as somebody else sees it while its member polls."""
    member.poll()
    found = cluster.admin.list_consumer_group_offsets("delays").get(PLACE)
    return -1 if found is None else found.offset
