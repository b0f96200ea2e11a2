"""Compaction, as the supervisor sees to it: which logs are looked at, by whom, and who puts what was made in its place.

    look      now and then: all replicas of topics that are compacted, one after the other
    clean     the cleaner, a process of low priority, decides and writes new files beside the old ones
    swap      the owner or the follower of that log, whose the files are, puts them in their places, or refuses

Nobody waits for any of it. An order to swap that comes late, or twice, does nothing (log/swap).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from shmlog.control.messages import CleanLog, LogCleaned, LogNotCleaned, Message
from shmlog.machines.metadata import Partition
from shmlog.settings import TopicConfig, effective
from shmlog.supervisor.cleaner_process import CleanerProcess
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.zygote import ZygoteLink

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Log:
    partition_id: int
    replica_id: int


class Cleaning:
    """One log at a time, whole rounds one after the other: no log waits for ever behind a busy one."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        catalog: Catalog,
        owners: Owners,
        followers: Followers,
        zygote: ZygoteLink,
    ) -> None:
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._followers = followers
        self._process = CleanerProcess(loop, self._heard, self._died)
        self._queue: deque[_Log] = deque()
        self._current: _Log | None = None
        self._troubles: dict[_Log, str] = {}  # what was said of it last
        self._is_closed = False
        zygote.knows(self._process.pids)

    def look(self) -> None:
        """Begin another round, unless one is going on."""
        if self._queue or self._current is not None or self._is_closed or not self._identity.config.log_cleaner_enable:
            return
        self._queue.extend(
            _Log(partition.partition_id, replica_id)
            for partition in self._catalog.machine.partitions()
            if "compact" in self._config(partition).cleanup_policy
            for replica_id in sorted(partition.replicas)
        )
        self._next()

    def close(self) -> None:
        """End the cleaner; what it has not finished is done again some day."""
        self._is_closed = True
        self._queue.clear()
        self._current = None
        self._process.close()

    def _config(self, partition: Partition) -> TopicConfig:
        return TopicConfig.from_mapping(self._settings(partition))

    def _settings(self, partition: Partition) -> dict[str, str]:
        return effective(self._identity.config.topic_defaults, partition.topic.config)

    def _next(self) -> None:
        while self._queue and self._current is None:
            one = self._queue.popleft()
            job = self._job(one)
            if job is None:
                continue
            try:
                self._process.order(job)
            except OSError as error:
                log.warning("no cleaner can be started: %s; topics are compacted later", error.strerror)
                self._queue.clear()
                return
            self._current = one

    def _job(self, one: _Log) -> CleanLog | None:
        """None while nobody could put anything in its place, or nobody knows what all replicas have."""
        partition = self._catalog.machine.partition_by_id(one.partition_id)
        owner = self._owners.running(one.partition_id)
        if partition is None or one.replica_id not in partition.replicas or owner is None or owner.page is None:
            return None
        config = self._identity.config
        return CleanLog(
            directory=self._identity.directories.log_directory(partition, one.replica_id),
            config=self._settings(partition),
            high_watermark=owner.page.high_watermark,
            dedupe_bytes=config.log_cleaner_dedupe_buffer_size,
            bytes_per_second=config.log_cleaner_io_max_bytes_per_second,
            file_mode=config.shm_mode,
            group=self._identity.shm_group,
        )

    def _heard(self, message: Message) -> None:
        one, self._current = self._current, None
        if one is None:
            return
        match message:
            case LogCleaned():
                self._troubles.pop(one, None)
                log.info("%s", message.said)
                self._order_swap(one, message)
            case LogNotCleaned(directory=directory, error=error):
                if error and self._troubles.get(one) != error:
                    log.warning("%s is not compacted: %s", directory, error)
                self._troubles[one] = error
            case _:
                raise AssertionError(f"the cleaner does not send {type(message).__name__}")
        self._next()

    def _order_swap(self, one: _Log, cleaned: LogCleaned) -> None:
        """To whoever has the directory now; nobody: what was made is removed when it is opened."""
        partition = self._catalog.machine.partition_by_id(one.partition_id)
        if partition is None:
            return
        if one.replica_id == partition.leader:
            owner = self._owners.running(one.partition_id)
            if owner is not None:
                self._owners.send(owner, cleaned.swap)
            return
        follower = self._followers.process(one.partition_id, one.replica_id)
        if follower is not None and follower.region is not None:
            follower.send(cleaned.swap)

    def _died(self) -> None:
        """The next round begins again, with another one."""
        self._current = None
        self._queue.clear()
