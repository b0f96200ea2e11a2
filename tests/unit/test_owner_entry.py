"""A process that is to own a partition makes sure that it is the only one, and that it is still wanted."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from shmlog.control.channel import Channel
from shmlog.control.life import LifeLock
from shmlog.control.messages import OwnerFailed, OwnerSpec
from shmlog.control.paths import RuntimePaths

owner = importlib.import_module("shmlog.workers.owner")  # in the checkout it is workers/owner.py


@pytest.fixture
def spec(tmp_path: Path) -> OwnerSpec:
    (tmp_path / "owners").mkdir()
    return OwnerSpec(
        cluster_id="C" * 22,
        cluster_name="test",
        cid8="cccccccc",
        runtime_dir=str(tmp_path),
        topic="flights",
        topic_id="A" * 22,
        partition=3,
        partition_id=7,
        leader_epoch=0,
        log_dir=str(tmp_path / "flights-3"),
        config={},
        shm_mode=0o600,
        shm_group=None,
        leftovers=False,
    )


def test_an_owner_whose_supervisor_died_before_it_began_does_nothing(spec: OwnerSpec, tmp_path: Path) -> None:
    """Regression: a zygote that was stopped meanwhile started owners beside those of the next supervisor."""
    supervisor, end = Channel.pair()
    supervisor.close()
    assert owner.main(spec, end.detach()) == 0
    assert not (tmp_path / "flights-3").exists()
    LifeLock.acquire(RuntimePaths(spec.runtime_dir).owner(7)).release()


def test_an_owner_that_finds_another_one_says_which_process_it_is_and_ends(spec: OwnerSpec, tmp_path: Path) -> None:
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    other = os.fork()
    if other == 0:
        os.close(end_write)
        LifeLock.acquire(RuntimePaths(spec.runtime_dir).owner(7))
        os.write(ready_write, b"!")
        os.read(end_read, 1)
        os._exit(0)
    try:
        os.read(ready_read, 1)
        supervisor, end = Channel.pair()
        assert owner.main(spec, end.detach()) == 1
        said = supervisor.receive()
        assert isinstance(said, OwnerFailed)
        assert said.message.startswith(f"process {other} still owns flights-3")
        assert not (tmp_path / "flights-3").exists()
        supervisor.close()
    finally:
        for fd in (ready_read, ready_write, end_read, end_write):
            os.close(fd)
        os.waitpid(other, 0)
