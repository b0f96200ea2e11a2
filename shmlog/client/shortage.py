"""Why nothing is acknowledged while a disk is full or too few replicas are in sync, for errors: what is, what to do.

The numbers come from the partition's control page, and are there without a supervisor; who is missing and why only it
can say. A task that asks holds its event loop up for that long, so it is not asked again for every batch that expires.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from shmlog.client.connection import Connection
from shmlog.client.results import PartitionInfo, ReplicaInfo, TopicInfo
from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import DescribeTopics, TopicsDescribed
from shmlog.errors import DeliveryTimeoutError, NotEnoughDiskError, NotEnoughReplicasError, ShmlogError
from shmlog.memory.control_page import ControlPage

ANSWER_S: Final = 0.25
ASK_AGAIN_S: Final = 1.0


class Shortage:
    """Asks for one producer. What it says is empty while there is room and enough replicas are in sync."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: dict[str, tuple[float, TopicInfo | None]] = {}  # by topic: when it was asked for

    def sentence(self, topic: str, partition: int, page: ControlPage) -> str:
        """To follow a full stop."""
        if page.disk_refusal:
            return page.disk_refusal
        in_sync, needed = page.in_sync, page.in_sync_needed
        if in_sync >= needed:
            return ""
        are = "replica is" if in_sync == 1 else "replicas are"
        info = self._describe(topic)
        missing = "" if info is None else _missing(info.partitions[partition], page.log_end_offset)
        go_on_without = f"shmlog topic alter {topic} --config min.insync.replicas={in_sync}"
        return (
            f"{in_sync} {are} in sync, and {needed} are needed (min.insync.replicas){missing}. Once enough are in sync,"
            f" {topic}-{partition} goes on by itself; `{go_on_without}` makes it go on without them"
        )

    def timeout(self, topic: str, partition: int, page: ControlPage | None, what_happened: str) -> DeliveryTimeoutError:
        """The error for `what_happened`: delivery.timeout.ms has passed."""
        if page is not None and page.disk_refusal:
            said = page.disk_refusal
            return NotEnoughDiskError(what_happened if said in what_happened else f"{what_happened}. {said}")
        why = "" if page is None else self.sentence(topic, partition, page)
        return NotEnoughReplicasError(f"{what_happened}. {why}") if why else DeliveryTimeoutError(what_happened)

    def _describe(self, topic: str) -> TopicInfo | None:
        """None: nobody answers."""
        asked_s, info = self._answers.get(topic, (-ASK_AGAIN_S, None))
        if time.monotonic() - asked_s >= ASK_AGAIN_S:
            info = None
            with suppress(ShmlogError, ChannelClosedError):
                question = self._connection.ask(DescribeTopics(0, [topic]))
                if question is not None:
                    info = TopicInfo.of(question.wait(TopicsDescribed, ANSWER_S).topics[0])
            self._answers[topic] = time.monotonic(), info
        return info


def _missing(partition: PartitionInfo, end_offset: int) -> str:
    sentences = [
        f"replica {one.replica_id} in {one.log_dir} is not: {_why(one, end_offset)}" for one in partition.missing
    ]
    return ": " + "; ".join(sentences) if sentences else ""


def _why(replica: ReplicaInfo, end_offset: int) -> str:
    behind = end_offset - replica.written_offset if replica.written_offset >= 0 else 0
    return replica.error or f"it is {replica.state}" + (f", {behind} records behind" if behind > 0 else "")
