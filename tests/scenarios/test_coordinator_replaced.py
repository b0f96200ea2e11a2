"""Coordinators of consumer groups that are killed or stopped: what their successors know, and who is a member then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from shmlog.control.group_messages import (
    CommitOffsets,
    GroupOffset,
)
from shmlog.control.messages import Done
from shmlog.model import OFFSETS_TOPIC
from shmlog.testing import wait_until
from tests.scenarios.bare_member import (
    BareMember,
    Talk,
    coordinator_socket,
    described,
    has_hung_up,
    kill_coordinator,
    member,
    produce,
)
from tests.scenarios.conftest import Daemon, Peer

pytestmark = pytest.mark.slow


def test_what_a_coordinator_said_its_successor_knows(peer: Peer) -> None:
    with member(peer, "delays", "a", ["flights"]) as a, member(peer, "delays", "b", ["flights"]) as b:
        a.follow()
        b.follow()
        a.follow()
        b.follow()
        a.ask(CommitOffsets(0, "delays", [GroupOffset("flights", 0, 0, -1, "so far")]), Done)
        kill_coordinator(peer)
        wait_until(lambda: has_hung_up(a) and has_hung_up(b))
        a.reconnect()
        a.join()
        assert a.follow() == [0, 1], "b lives, and keeps what it has"
        (offset,) = described(a, "delays").offsets
        assert (offset.partition, offset.offset, offset.metadata) == (0, 0, "so far")
        b.reconnect()
        b.join()
        assert b.follow() == [2, 3]
        wait_until(lambda: described(a, "delays").state == "Stable")


def test_who_sleeps_while_its_coordinator_is_replaced_is_woken_by_the_successor(peer: Peer) -> None:
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        described(a, "delays")
        doorbell = a.region.doorbell
        assert doorbell is not None
        ticket = doorbell.prepare()
        kill_coordinator(peer)
        assert doorbell.wait(ticket, 20.0)


OTHER_PROCESS = """
import sys, shmlog
settings = {"partition_assignment_strategy": "range", "auto_offset_reset": "earliest", "enable_auto_commit": False}
with shmlog.connect("t") as cluster, cluster.consumer("flights", group_id="delays", **settings) as b:
    while len(b.assignment()) != 2:
        b.poll(timeout=0.1)
    b.commit({min(b.assignment()): 0}, asynchronous=True)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_members_that_died_with_their_coordinator_are_out_when_its_successor_has_seen_it(peer: Peer) -> None:
    command = [sys.executable, "-P", "-c", OTHER_PROCESS]
    environment = {**os.environ, "SHMLOG_RUNTIME_DIR": os.path.dirname(peer.welcome.runtime_dir)}
    with (
        member(peer, "delays", "a", ["flights"]) as a,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other,
    ):
        a.follow()
        a.follow()
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        kill_coordinator(peer)
        other.kill()
        wait_until(lambda: has_hung_up(a))
        a.reconnect()
        a.join()
        while a.follow() != [0, 1, 2, 3]:
            pass
        assert list(a.committed("delays").values()) == [0], "the last look at its cells"


def test_who_left_while_nobody_heard_it_is_out_although_its_process_lives(peer: Peer) -> None:
    with member(peer, "delays", "b", ["flights"]) as b, member(peer, "delays", "a", ["flights"]) as a:
        b.follow()
        a.follow()
        b.follow()
        a.follow()
        b.store(peer.partition("flights", 2).partition_id, 0)
        kill_coordinator(peer)
        wait_until(lambda: has_hung_up(a))
        b.channel.close()
        assert b.polls is not None
        b.polls.release()
        a.reconnect()
        a.join()
        while a.follow() != [0, 1, 2, 3]:
            pass
        assert a.committed("delays") == {("flights", 2): 0}


def test_what_members_stored_and_who_they_are_outlives_a_restart_of_the_cluster(
    real_daemon: Daemon, peer: Peer
) -> None:
    produce(peer, "flights", 2, 10)
    with member(peer, "delays", "b", ["flights"]) as b, member(peer, "delays", "a", ["flights"]) as a:
        b.follow()
        a.follow()
        b.follow()
        a.follow()
        b.store(peer.partition("flights", 2).partition_id, 5)
        peer.close()
        assert real_daemon.stop() == 0
        real_daemon.start()
        again = real_daemon.peer()
        coordinator_socket(again, "delays")
        b.reconnect()
        wait_until(lambda: b.committed("delays") == {("flights", 2): 5})
        names = [one.member_id for one in described(b, "delays").members]
        assert names == ["a", "b"], "their process lives, under another registration"


def test_a_stop_of_the_cluster_whose_coordinator_cannot_be_closed_keeps_what_members_stored(
    real_daemon: Daemon, peer: Peer
) -> None:
    produce(peer, "flights", 2, 10)
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        flights = peer.partition("flights", 2).partition_id
        coordinator = peer.partition(OFFSETS_TOPIC).pid
        os.kill(coordinator, signal.SIGSTOP)  # it looks at no cell any more
        a.store(flights, 5)
        directory = real_daemon.data_dir / f"{OFFSETS_TOPIC}-0"
        away = directory.rename(real_daemon.data_dir / "away")
        directory.touch()  # no successor can open it
        peer.close()
        os.kill(real_daemon.pid, signal.SIGTERM)
        os.kill(coordinator, signal.SIGKILL)
        assert real_daemon.ended() == 0
        assert "1 partitions could not be closed" in real_daemon.log()
        directory.unlink()
        away.rename(directory)
        real_daemon.start()
        again = real_daemon.peer()
        with closing(Talk(coordinator_socket(again, "delays"))) as talk:
            wait_until(lambda: talk.committed("delays") == {("flights", 2): 5})
    wait_until(lambda: {one for one in real_daemon.regions(again) if one[0] == "c"} == {f"c{again.welcome.client_id}"})


def test_groups_go_on_while_there_is_no_supervisor(real_daemon: Daemon, peer: Peer) -> None:
    with BareMember(peer, "delays", "b", ["flights"]) as b, member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        real_daemon.kill()
        b.join()
        assert b.follow() == []
        assert a.follow() == [0, 1]
        assert b.follow() == [2, 3]
        b.ask(CommitOffsets(0, "delays", [GroupOffset("flights", 2, 0)]), Done)
        real_daemon.start()
        assert b.committed("delays") == {("flights", 2): 0}


def test_a_successor_does_not_take_a_cell_for_news_that_is_older_than_a_commit(peer: Peer) -> None:
    produce(peer, "flights", 1, 10)
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        a.store(peer.partition("flights", 1).partition_id, 3)
        a.ask(CommitOffsets(0, "delays", [GroupOffset("flights", 1, 6)]), Done)
        kill_coordinator(peer)
        wait_until(lambda: has_hung_up(a))
        a.reconnect()
        a.join()
        a.follow()
        assert a.committed("delays")["flights", 1] == 6
        a.store(peer.partition("flights", 1).partition_id, 5)
        assert a.committed("delays")["flights", 1] == 5, "that is news"


def test_a_member_that_is_stopped_while_its_coordinator_is_replaced_loses_no_offset_when_it_is_fenced(
    peer: Peer,
) -> None:
    produce(peer, "flights", 1, 10)
    with (
        member(peer, "delays", "a", ["flights"], poll_interval_ms=2000) as a,
        member(peer, "delays", "b", ["flights"]) as b,
    ):
        a.follow()
        b.follow()
        a.follow()
        b.follow()
        kill_coordinator(peer)
        a.store(peer.partition("flights", 1).partition_id, 5)  # and does nothing any more
        wait_until(lambda: has_hung_up(b))
        b.reconnect()
        b.join()
        while b.follow() != [0, 1, 2, 3]:
            pass
        assert b.starts[1] == 5
