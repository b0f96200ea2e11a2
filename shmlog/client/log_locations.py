"""Where the files of partitions are: what the supervisor said last, asked again once another leader has begun.

A leader epoch is in the metadata log before its owner shows it to anybody, so whoever has seen it in shared memory gets
an answer that is at least as new. While no supervisor is there to ask, a directory whose checkpoint has that epoch will
do: its leader or a follower of it has written there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from shmlog.client.question import Question
from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import DescribeTopics, PartitionDescription, Request, TopicsDescribed
from shmlog.errors import PollTimeoutError
from shmlog.limits import LOCATION_ANSWER_S
from shmlog.log.checkpoint import read_leader_epochs
from shmlog.log.cold import ColdReader
from shmlog.log.storage import OsStorage


class Asks(Protocol):
    """What is needed of a Connection."""

    def ask(self, message: Request) -> Question | None: ...


class LogLocations:
    """What one connection knows. From any thread."""

    def __init__(self, asks: Asks) -> None:
        self._asks = asks
        self._known: dict[int, PartitionDescription] = {}  # by partition id

    def opener(self, topic: str, found: PartitionDescription) -> Callable[[int], ColdReader | None]:
        """What a PartitionReader of this partition takes as `open_files`. `found` is what was heard of it before."""
        self._learn(found)
        return lambda leader_epoch: self._open(topic, found.partition_id, leader_epoch)

    def _open(self, topic: str, partition_id: int, leader_epoch: int) -> ColdReader | None:
        if self._known[partition_id].leader_epoch < leader_epoch:
            self._ask(topic)
        known = self._known[partition_id]
        if known.leader_epoch < leader_epoch and not _has_epoch(known.log_dir, leader_epoch):
            return None
        return ColdReader(known.log_dir)

    def _ask(self, topic: str) -> None:
        """Learn where all partitions of the topic are: what one has asked, others with new leaders need not.

        Waits LOCATION_ANSWER_S at most, and not at all while no supervisor is there. Raises
        UnknownTopicOrPartitionError when the topic is gone.
        """
        question = self._asks.ask(DescribeTopics(0, [topic]))
        if question is None:
            return
        with suppress(PollTimeoutError, ChannelClosedError):
            for described in question.wait(TopicsDescribed, LOCATION_ANSWER_S).topics:
                for partition in described.partitions:
                    self._learn(partition)

    def _learn(self, found: PartitionDescription) -> None:
        known = self._known.get(found.partition_id)
        if known is None or known.leader_epoch < found.leader_epoch:
            self._known[found.partition_id] = found


def _has_epoch(log_dir: str, leader_epoch: int) -> bool:
    with suppress(OSError):
        return any(start.epoch == leader_epoch for start in read_leader_epochs(OsStorage(), log_dir))
    return False
