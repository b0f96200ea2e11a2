"""Followers of a cluster in which no partition has any, for tests of what would ask them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def no_followers() -> Any:
    return SimpleNamespace(
        on_gone=[],
        on_ready=[],
        on_dropped=[],
        on_handed_over=[],
        want=lambda partitions: None,
        unwant=lambda partition_id, **_: None,
        are_gone=lambda partition_id: True,
        all_ready=list,
        all_starting=list,
        process=lambda partition_id, replica_id: None,
        machine=SimpleNamespace(followers=lambda partition_id: {}),
    )


def no_failover() -> Any:
    return SimpleNamespace(why_offline=lambda partition_id: "")


def no_replicas() -> Any:
    return SimpleNamespace()


def no_reserve() -> Any:
    """A cluster that keeps no room on its disks."""
    return SimpleNamespace(refusal=lambda directory_id: "")
