"""Owners in the supervisor's own process: the real agents and channels, without processes of their own.

Who is killed then is the supervisor with all of its owners, which is what a machine does, or `kill_cluster` of torture.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic_ns
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

from shmlog.control.channel import Channel
from shmlog.control.messages import ClientAttached, Close, LaneAttached, LaneDetached, Message, OwnerOrder, OwnerSpec
from shmlog.control.worker_messages import OwnerReady
from shmlog.log.progress import Progress
from shmlog.machines.metadata import Partition
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.supervision import OwnerPhase
from shmlog.partition.owner import OwnerAgent
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owner
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.zygote import ZygoteLink


@dataclass
class _Hosted:
    agent: OwnerAgent
    owner: Owner


class HostedOwners:
    """What the supervisor's parts ask of Owners. `turn` lets every owner work and hears what they say."""

    def __init__(
        self, loop: Loop, catalog: Catalog, regions: Regions, spec: Callable[[Partition, int], OwnerSpec]
    ) -> None:
        self.watchers: list[OwnerWatcher] = []
        self.machine = SimpleNamespace(phase=lambda partition_id: OwnerPhase.RUNNING, error=lambda partition_id: "")
        self._loop = loop
        self._catalog = catalog
        self._regions = regions
        self._spec = spec
        self._hosted: dict[int, _Hosted] = {}
        self._made: list[OwnerAgent] = []  # of whom their Owner is not told yet

    def pid(self, partition_id: int) -> int:
        return os.getpid()

    def running(self, partition_id: int) -> Owner | None:
        hosted = self._hosted.get(partition_id)
        return hosted.owner if hosted is not None and hosted.owner.ready is not None else None

    def all_running(self) -> list[Owner]:
        return [hosted.owner for hosted in self._hosted.values() if hosted.owner.ready is not None]

    def send(self, owner: Owner, order: OwnerOrder) -> None:
        owner.send(order)

    def want(self, partitions: Sequence[Partition]) -> None:
        epochs = [(partition, partition.leader_epoch + 1) for partition in partitions]
        self._catalog.commit(tuple(LeaderEpochRaised(one.partition_id, epoch) for one, epoch in epochs))
        for partition, epoch in epochs:
            self._start(partition, epoch)

    def _start(self, partition: Partition, epoch: int) -> None:
        bell = self._regions.bell(partition.partition_id)
        owner = Owner(self._loop, partition.partition_id, f"{partition.topic.name}-{partition.partition}", bell)
        owner.order(
            cast(ZygoteLink, self),
            self._spec(partition, epoch),
            hear=partial(self._hear, owner),
            on_refused=lambda _: None,
            on_exit=lambda: None,
        )
        self._hosted[partition.partition_id] = _Hosted(self._made.pop(), owner)

    def spawn(self, spec: OwnerSpec, end: socket.socket, *_: object) -> None:
        # Who starts waits for its syncs, in a thread of theirs, and does nothing else: one order, counted as one.
        with patch.object(Progress, "wait_for", lambda _, call: call()):
            self._made.append(OwnerAgent(spec, Channel(end)))

    def unwant(self, partition_id: int, *, delete: bool) -> None:
        hosted = self._hosted.pop(partition_id)
        hosted.owner.send(Close(delete))
        hosted.agent.serve()
        hosted.owner.listen()
        for watcher in self.watchers:
            watcher.owner_gone(partition_id, delete, clean=True)

    def turn(self) -> None:
        for hosted in list(self._hosted.values()):
            hosted.agent.work(monotonic_ns())
            hosted.owner.listen()

    def _hear(self, owner: Owner, message: Message) -> None:
        for watcher in self.watchers:
            _tell(watcher, owner, message)


def _tell(watcher: OwnerWatcher, owner: Owner, message: Message) -> None:
    match message:
        case OwnerReady():
            owner.ready = message
            watcher.owner_ready(message)
        case LaneAttached() | LaneDetached() | ClientAttached():
            watcher.owner_reported(owner.partition_id, message)
