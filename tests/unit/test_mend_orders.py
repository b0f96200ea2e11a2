"""A damaged replica of a running cluster is mended by the process that it belongs to, and by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import MendReplica, MendSegment
from shmlog.errors import InvalidRequestError, LeaderNotAvailableError
from shmlog.log.checkpoint import EpochStart, write_leader_epochs
from shmlog.log.storage import OsStorage
from shmlog.partition.mending import mend_segment
from shmlog.supervisor.mends import Mends
from shmlog.testing.known_log import batch_at, contents, log_file, write_log

BATCH_BYTES = len(batch_at(0))


def two_replicas(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        write_log(tmp_path / name, [4, 2], clean=True)
        write_leader_epochs(OsStorage(), str(tmp_path / name), [EpochStart(0, 0)])
    return tmp_path / "a", tmp_path / "b"


def spoil(directory: Path, batch: int) -> None:
    data = bytearray(log_file(directory, 0).read_bytes())
    data[batch * BATCH_BYTES + 70] ^= 1
    log_file(directory, 0).write_bytes(data)


def test_a_worker_mends_what_it_is_told_and_says_so(tmp_path: Path) -> None:
    mine, other = two_replicas(tmp_path)
    spoil(mine, 2)
    order = MendSegment(0, 8, 2 * BATCH_BYTES, 4, str(other))
    said = mend_segment(str(mine), order).message
    assert f"from offset 4 on (byte {2 * BATCH_BYTES}): {BATCH_BYTES} bytes were damaged, and are written anew" in said
    assert contents(mine) == contents(other)
    assert "there was nothing to mend" in mend_segment(str(mine), order).message


@pytest.mark.parametrize(
    ("base_offset", "following", "said"),
    [(0, 8, "has nothing sound at offset 4"), (0, 10, "is not the sealed segment any more"), (8, 12, "is not the sea")],
)
def test_a_worker_believes_no_order_and_says_why_it_did_nothing(
    tmp_path: Path, base_offset: int, following: int, said: str
) -> None:
    mine, other = two_replicas(tmp_path)
    spoil(mine, 2)
    spoil(other, 2)
    before = contents(mine)
    order = MendSegment(base_offset, following, 2 * BATCH_BYTES, 4, str(other))
    found = mend_segment(str(mine), order).message
    assert "nothing was mended" in found
    assert said in found
    assert contents(mine) == before


# --- the supervisor ---------------------------------------------------------------------------------------------------


def mends(*, owner: Callable[[object], None] | None, follower: Callable[[object], None] | None) -> Mends:
    """Of partition flights-0, whose replica 0 leads; those who are there take orders."""
    partition = SimpleNamespace(partition_id=7, leader=0, replicas={0: "A", 1: "B"})
    machine = SimpleNamespace(partition=lambda topic, number: partition)
    directories = SimpleNamespace(log_directory=lambda partition, replica_id: f"/disk{replica_id}/flights-0")
    process = None if follower is None else SimpleNamespace(region=object(), send=follower)
    parts: Any = (
        SimpleNamespace(directories=directories),
        SimpleNamespace(machine=machine),
        SimpleNamespace(running=lambda _: owner, send=lambda one, order: one(order)),
        SimpleNamespace(process=lambda partition_id, replica_id: process),
    )
    return Mends(*parts)


def test_the_order_goes_to_the_owner_for_the_leaders_log_and_to_the_follower_for_its_own() -> None:
    owner, follower = list[object](), list[object]()
    both = mends(owner=owner.append, follower=follower.append)
    both.order(MendReplica(1, "flights", 0, 0, 1, 10, 20, 500, 12))
    assert owner == [MendSegment(10, 20, 500, 12, "/disk1/flights-0")]
    both.order(MendReplica(2, "flights", 0, 1, 0, 10, 20, 500, 12))
    assert follower == [MendSegment(10, 20, 500, 12, "/disk0/flights-0")]
    assert len(owner) == 1


@pytest.mark.parametrize("replica_id", [0, 1])
def test_a_replica_that_does_not_run_is_mended_later(replica_id: int) -> None:
    nobody = mends(owner=None, follower=None)
    with pytest.raises(LeaderNotAvailableError, match=f"replica {replica_id} of flights-0 does not run now"):
        nobody.order(MendReplica(1, "flights", 0, replica_id, 1 - replica_id, 10, 20, 500, 12))


def test_a_replica_that_there_is_none_of_is_refused() -> None:
    both = mends(owner=print, follower=print)
    with pytest.raises(InvalidRequestError, match=r"flights-0 has no replica 2, but \[0, 1\]"):
        both.order(MendReplica(1, "flights", 0, 0, 2, 10, 20, 500, 12))
