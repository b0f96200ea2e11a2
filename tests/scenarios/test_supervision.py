"""A real supervisor and its processes, with owners that misbehave on request: who is replaced, what topics become."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from shmlog.control.messages import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    DescribeTopics,
    Done,
    OpenLane,
    TopicsDescribed,
)
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

Gone = Callable[[int], None]


# --- owners -----------------------------------------------------------------------------------------------------------


def test_a_killed_owner_is_replaced_under_a_higher_epoch(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    first = peer.partition("calm")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: daemon.running("calm", but_not=first.pid))
    assert [order["epoch"] for order in daemon.orders("calm") if order["kind"] == "start"] == [0, 1]
    assert peer.partition("calm").leader_epoch == 1
    assert daemon.describe().restarts == 1


def test_an_owner_gets_nothing_of_its_ancestors_but_its_channel(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    for name in ("calm.1", "calm.2"):
        peer.create(name)
        pid = peer.partition(name).pid
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2}
        assert len([link for link in opened if link.startswith("socket:")]) == 1, opened
        assert not [link for link in opened if "pidfd" in link or "poll" in link], opened
        assert os.getsid(pid) == pid


def test_workers_outlive_signals_that_are_not_for_them(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    owner, zygote = peer.partition("calm").pid, daemon.describe().zygote_pid
    for pid in (owner, zygote):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    peer.create("calm.2")
    assert peer.partition("calm").pid == owner
    assert daemon.describe().zygote_pid == zygote


def test_a_topic_whose_owner_cannot_start_is_not_created_and_the_reason_is_told(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "refuses", 2, 1, {}))
    assert refusal.error == "StorageError"
    assert "was not created: the disk is full" in refusal.message

    def is_free() -> bool:
        again = peer.refused(CreateTopic(0, "refuses", 2, 1, {}))
        return "the disk is full" in again.message  # not "already exists" or "being deleted"

    wait_until(is_free)
    assert peer.ask(DescribeTopics(0, None), TopicsDescribed).topics == []


def test_a_topic_whose_owners_die_without_a_word_is_not_created_and_the_last_death_is_told(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "crashes", 1, 1, {}))
    assert refusal.error == "StartError"
    pids = [order["pid"] for order in daemon.orders("crashes")]
    assert len(pids) == 3
    assert f"'crashes' was not created: its owner (process {pids[-1]}) died without saying why" in refusal.message


def test_an_owner_that_no_restart_can_help_takes_only_its_partition_offline(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    os.rename(daemon.data_dir / "calm-0.orders", daemon.data_dir / "kept")
    daemon.environment = {}
    refusal = peer.refused(CreateTopic(0, "foreign", 1, 1, {}))
    assert refusal.error == "ForeignVersionError"
    assert peer.partition("calm").state == "running"


def test_an_owner_that_talks_nonsense_is_killed_and_replaced(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("babbles")
    wait_until(lambda: len([order for order in daemon.orders("babbles") if order["kind"] == "start"]) >= 3)
    assert "talks nonsense" in daemon.log()
    peer.ask(DeleteTopic(0, "babbles"), Done)  # closed uncleanly, it would be left for the next start


def test_an_owner_that_does_not_answer_is_killed_and_its_successor_gets_the_order(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nowner.unresponsive.ms = 300\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("deaf")
    first = peer.partition("deaf").pid
    peer.send(OpenLane(0, "deaf", 0, peer.producer_id(), 0, 0, None))
    other = daemon.peer()
    wait_until(lambda: other.partition("deaf").pid not in (0, first))
    wait_until(lambda: daemon.kinds("deaf").count("AttachLane") >= 2)
    assert "does not react" in daemon.log()


def test_an_owner_that_is_stopped_before_it_is_ready_is_killed_and_replaced(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nowner.unresponsive.ms = 300\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("stops")
    assert peer.partition("stops").leader_epoch == 1
    assert "does not react" in daemon.log()


def test_an_owner_that_dies_while_it_closes_has_a_successor_that_closes(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("dies")
    peer.close()
    assert daemon.stop() == 0
    assert daemon.kinds("dies") == ["start", "Close", "start", "Close"]


# --- the zygote -------------------------------------------------------------------------------------------------------


def test_a_killed_zygote_is_replaced_and_its_owners_live_on_and_are_still_watched(daemon: Daemon, gone: Gone) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm.1")
    owner, zygote = peer.partition("calm.1").pid, daemon.describe().zygote_pid
    os.kill(zygote, signal.SIGKILL)
    peer.create("calm.2")
    assert peer.partition("calm.1").pid == owner
    assert daemon.describe().zygote_pid not in (0, zygote)
    os.kill(owner, signal.SIGKILL)
    wait_until(lambda: daemon.running("calm.1", but_not=owner))
    gone(owner)
    assert not os.path.exists(f"/proc/{owner}"), "the supervisor reaps owners whose zygote is gone"


def test_a_stopped_zygote_is_replaced_and_its_owners_live_on_and_are_reaped(daemon: Daemon, gone: Gone) -> None:
    daemon.config = "[cluster]\nowner.unresponsive.ms = 300\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("calm.1", 2)
    lives, dies = (partition.pid for partition in peer.topic("calm.1").partitions)
    zygote = daemon.describe().zygote_pid
    os.kill(zygote, signal.SIGSTOP)
    os.kill(dies, signal.SIGKILL)  # its parent does not reap it, and nobody forks a successor
    gone(zygote)
    wait_until(lambda: daemon.describe().zygote_pid not in (0, zygote))
    wait_until(lambda: peer.partition("calm.1", 1).pid not in (0, dies))
    assert peer.partition("calm.1", 0).pid == lives
    wait_until(lambda: not os.path.exists(f"/proc/{dies}"), what="the supervisor to reap an owner of the dead zygote")
    os.kill(lives, signal.SIGKILL)
    wait_until(lambda: peer.partition("calm.1", 0).pid not in (0, lives))
    wait_until(lambda: not os.path.exists(f"/proc/{lives}"))
    assert f"the zygote (process {zygote}) does not react: killing it" in daemon.log()


def test_a_zygote_that_is_stopped_does_not_keep_the_cluster_from_being_down(daemon: Daemon) -> None:
    daemon.start()
    os.kill(daemon.describe().zygote_pid, signal.SIGSTOP)
    assert daemon.stop() == 0


# --- topics -----------------------------------------------------------------------------------------------------------


def test_a_deleted_topic_leaves_neither_files_nor_regions_and_its_name_is_free(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    topic = peer.create("calm", 2, file_delete_delay_ms="0")
    (daemon.data_dir / "calm-0" / "00000000000000000000.log").write_bytes(b"x")
    peer.open_lane("calm", 1)
    peer.ask(DeleteTopic(0, "calm"), Done)
    assert not any(name.startswith(("p", "l")) for name in daemon.regions(peer))
    assert not (daemon.data_dir / "calm-0").exists()
    wait_until(lambda: not [name for name in os.listdir(daemon.data_dir) if name.endswith("-delete")])
    assert peer.refused(DescribeTopics(0, ["calm"])).error == "UnknownTopicOrPartitionError"
    again = peer.create("calm", 1)
    assert again.topic_id != topic.topic_id
    assert again.partitions[0].partition_id == 2


def test_an_altered_topic_tells_its_owners_and_starts_new_ones(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm", 1, retention_ms="5")
    altered = peer.ask(AlterTopic(0, "calm", {"segment.ms": "77"}, ["retention.ms"], 2), TopicsDescribed).topics[0]
    assert altered.config == {"segment.ms": "77"}
    assert [partition.state for partition in altered.partitions] == ["running", "running"]
    wait_until(lambda: daemon.kinds("calm")[-1] == "AlterConfig")
    config = daemon.orders("calm")[-1]["config"]
    assert (config["segment.ms"], config["retention.ms"]) == ("77", "604800000")


def test_retention_is_ordered_at_its_interval(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nlog.retention.check.interval.ms = 100\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    wait_until(lambda: daemon.kinds("calm").count("ApplyRetention") >= 2)


def test_the_catalog_and_its_ids_survive_a_restart(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    before = peer.create("calm", 2, segment_ms="9")
    producer_id = peer.producer_id()
    client_id = peer.welcome.client_id
    peer.close()
    assert daemon.stop() == 0
    daemon.start()
    peer = daemon.peer()
    after = peer.topic("calm")
    assert (after.topic_id, after.config) == (before.topic_id, before.config)
    assert [(one.partition_id, one.leader_epoch) for one in after.partitions] == [(0, 1), (1, 1)]
    assert peer.producer_id() > producer_id
    assert peer.welcome.client_id > client_id


def test_more_partitions_than_the_supervisor_can_watch_are_refused_with_the_figures(daemon: Daemon) -> None:
    daemon.prefix = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh"]
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "calm", 40, 1, {}))
    assert refusal.error == "InvalidPartitionsError"
    assert "which may have 128: raise LimitNOFILE" in refusal.message
    peer.create("calm", 2)
