"""Which log directories the replicas of new partitions go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectoryUse:
    """How many replicas a directory has, and how many of them lead their partition."""

    replicas: int = 0
    leaders: int = 0


def place(
    partitions: int, replication_factor: int, directories: Sequence[str], use: Mapping[str, DirectoryUse]
) -> list[list[str]]:
    """For each new partition the directory ids of its replicas, the leader's first.

    The leader goes where the fewest leaders are. Replicas of one partition go to different directories for as long as
    there are any, then as few as possible share one. Beyond that the directory with the fewest replicas has the
    precedence, and of equals the one that stands first in `directories`; so the same question has the same answer.
    `use` is what the directories have already; those that it leaves out are empty.
    """
    assert directories, "there must be a directory to place replicas in"
    replicas = {one: use.get(one, DirectoryUse()).replicas for one in directories}
    leaders = {one: use.get(one, DirectoryUse()).leaders for one in directories}
    placed: list[list[str]] = []
    for _ in range(partitions):
        leader = min(directories, key=lambda one: (leaders[one], replicas[one]))
        leaders[leader] += 1
        replicas[leader] += 1
        chosen = [leader]
        while len(chosen) < replication_factor:
            follower = min(directories, key=lambda one: (chosen.count(one), replicas[one]))
            replicas[follower] += 1
            chosen.append(follower)
        placed.append(chosen)
    return placed
