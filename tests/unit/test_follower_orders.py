"""A follower's process: its supervisor's orders, its life lock, its sleep, and its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control import life
from shmlog.control.channel import Channel
from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    Exited,
    FollowerFailed,
    FollowerReady,
    FollowerReturns,
    LeaderMoved,
    Message,
    Spawned,
    SpawnFollower,
)
from shmlog.control.paths import RuntimePaths
from shmlog.memory import layout, names
from shmlog.memory.layout import ReplicaState
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.partition import follower as follower_module
from shmlog.supervisor.zygote_process import OWNER_MODULE, start_zygote
from shmlog.testing import wait_until
from shmlog.testing.follower_rig import FollowerRig, assert_same, difference, open_follower, open_leader, produce
from shmlog.testing.partition_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "flights-0") as opened:
        yield opened


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "flights-0.r1"


def serve(follower: FollowerRig, order: Message) -> Message | None:
    """Give an order and let it serve until it ends; what it said last."""
    follower.supervisor.send(order)
    follower.agent.serve()
    follower.lives = False
    said = None
    while (message := follower.supervisor.receive()) is not None:
        said = message
    follower.hang_up()
    return said


def test_a_follower_that_is_closed_takes_what_its_leader_has_written_first(
    rig: Rig, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "RUN_BUDGET_NS", 0)  # it looks at its orders after each piece
    with open_follower(rig, copy) as follower:
        follower.work()
        produce(rig, rig.lane(), 30)
        assert serve(follower, Close(delete=False)) == Closed(30)
        assert follower.region.state is ReplicaState.CLOSED
        assert difference(rig.directory, copy) == ""
        assert (copy / "clean-shutdown").exists()
        follower.start()
        assert follower.hear(FollowerReady)[-1].log_end_offset == 30
        produce(rig, rig.lane(producer_id=8), 10)
        assert_same(follower)


def test_a_follower_without_a_leader_closes_at_once(rig: Rig, copy: Path) -> None:
    rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RECOVERING)
    with open_follower(rig, copy) as follower:
        assert serve(follower, Close(delete=False)) == Closed(0)


def test_a_follower_of_a_deleted_topic_ends_without_taking_more(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 3)
        rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.DELETED)
        follower.work()
        assert follower.end_offset == 0
        assert serve(follower, Close(delete=True)) == Closed(0)


def test_altered_settings_hold_from_then_on(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 3)
        follower.work()
        assert follower.region.synced_offset == 0
        follower.supervisor.send(AlterConfig(rig.config | {"flush.messages": "1"}))
        follower.work()
        assert follower.region.synced_offset == 3


def test_a_follower_goes_on_under_the_next_supervisor_and_says_which_leader_it_follows_by_now(
    rig: Rig, copy: Path, tmp_path: Path
) -> None:
    moved = f"{rig.directory}/."
    with open_follower(rig, copy) as follower, socket.socket(socket.AF_UNIX) as meeting:
        follower.kill()
        follower.spec = replace(follower.spec, runtime_dir=str(tmp_path))
        follower.start()
        follower.supervisor.send(LeaderMoved(moved))
        produce(rig, rig.lane(), 3)
        follower.work()
        follower.supervisor.close()
        meeting.bind(RuntimePaths(str(tmp_path)).workers_socket)
        meeting.listen()
        follower.work()  # it notices that it is alone
        follower.work()
        follower.supervisor = Channel(meeting.accept()[0])
        (returned,) = follower.hear(FollowerReturns)
        assert returned.spec == replace(follower.spec, leader_log_dir=moved)
        assert (returned.ready.log_end_offset, returned.waits_for) == (3, "")
        assert serve(follower, Close(delete=False)) == Closed(3)
        follower.agent.channel.close()


def test_a_follower_that_cannot_open_its_log_says_so_and_ends(rig: Rig, copy: Path) -> None:
    copy.mkdir()
    (copy / "partition.metadata").write_text("version: 0\ntopic_id: BBBBBBBBBBBBBBBBBBBBBB")
    with open_follower(rig, copy.with_name("other")) as follower:
        spec = follower.spec
    ours, theirs = Channel.pair()
    end = Channel(theirs)
    assert follower_module.run(replace(spec, log_dir=str(copy)), end) == 1
    message = ours.receive(1.0)
    assert isinstance(message, FollowerFailed)
    assert "belongs to the topic" in message.message
    end.close()
    ours.close()


def test_a_follower_shows_that_it_lives(rig: Rig, copy: Path) -> None:
    before = monotonic_ns()
    with open_follower(rig, copy) as follower:
        follower.work()
        assert follower.region.heartbeat_ns > before
        assert follower.region.pid == os.getpid()


def test_the_zygote_forks_a_follower_that_copies_beside_everybody_else(rig: Rig, copy: Path, tmp_path: Path) -> None:
    with open_follower(rig, copy) as stub:
        spec = replace(stub.spec, runtime_dir=str(tmp_path))
    paths = RuntimePaths(str(tmp_path))
    os.mkdir(paths.owners)
    process = start_zygote(OWNER_MODULE)
    zygote = Channel(process.endpoint, passes_fds=True)
    supervisor, end = Channel.pair()
    zygote.send(SpawnFollower(spec), [end.fileno()])
    zygote.flush(10.0)
    end.close()
    received = wait_until(zygote.receive_with_fds)
    assert received is not None
    spawned, fds = received
    assert isinstance(spawned, Spawned)
    assert (spawned.partition_id, spawned.replica_id) == (1, 1)
    assert isinstance(wait_until(supervisor.receive), FollowerReady)
    assert Path(f"/proc/{spawned.pid}/comm").read_text() == "shmlog-p1.r1\n"
    assert life.holder(paths.follower(1, 1)) == spawned.pid
    region = ReplicaRegion.open(names.replica(rig.tag, 1, 1), 1, writable=True)
    assert region.doorbell is not None
    produce(rig, rig.lane(), 30)
    region.doorbell.ring()  # what its leader does
    wait_until(lambda: region.written_offset == 30)
    supervisor.send(Close(delete=False))
    region.doorbell.ring()
    assert isinstance(wait_until(supervisor.receive), Closed)
    wait_until(lambda: zygote.receive_with_fds() == (Exited(spawned.pid, 0), []))
    assert difference(rig.directory, copy) == ""
    assert life.holder(paths.follower(1, 1)) is None
    for fd in fds:
        os.close(fd)
    region.close()
    supervisor.close()
    zygote.close()
    os.waitpid(process.pid, 0)
