"""A process that is to follow a partition makes sure that it is the only one there, and that it is still wanted."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from shmlog.control.channel import Channel
from shmlog.control.life import LifeLock
from shmlog.control.messages import FollowerFailed, FollowerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.memory import names, region

follower = importlib.import_module("shmlog.workers.follower")  # in the checkout it is workers/follower.py


@pytest.fixture
def spec(tmp_path: Path) -> FollowerSpec:
    (tmp_path / "owners").mkdir()
    return FollowerSpec(
        cluster_id="C" * 22,
        cluster_name="test",
        cid8="cccccccc",
        runtime_dir=str(tmp_path),
        topic="flights",
        topic_id="A" * 22,
        partition=3,
        partition_id=7,
        replica_id=2,
        log_dir=str(tmp_path / "flights-3.r2"),
        leader_log_dir=str(tmp_path / "flights-3"),
        config={},
        shm_mode=0o600,
        shm_group=None,
    )


def test_a_follower_whose_supervisor_died_before_it_began_does_nothing(spec: FollowerSpec) -> None:
    supervisor, end = Channel.pair()
    supervisor.close()
    assert follower.main(spec, end.detach()) == 0
    assert not Path(spec.log_dir).exists()
    assert not region.exists(names.replica(spec.cid8, 7, 2))
    LifeLock.acquire(RuntimePaths(spec.runtime_dir).follower(7, 2)).release()


def test_a_follower_that_finds_another_one_says_which_process_it_is_and_ends(spec: FollowerSpec) -> None:
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    other = os.fork()
    if other == 0:
        os.close(end_write)
        LifeLock.acquire(RuntimePaths(spec.runtime_dir).follower(7, 2))
        os.write(ready_write, b"!")
        os.read(end_read, 1)
        os._exit(0)
    try:
        os.read(ready_read, 1)
        supervisor, end = Channel.pair()
        assert follower.main(spec, end.detach()) == 1
        said = supervisor.receive()
        assert isinstance(said, FollowerFailed)
        assert said.message.startswith(f"process {other} still writes replica 2 of flights-3")
        assert not Path(spec.log_dir).exists()
        supervisor.close()
    finally:
        for fd in (ready_read, ready_write, end_read, end_write):
            os.close(fd)
        os.waitpid(other, 0)
