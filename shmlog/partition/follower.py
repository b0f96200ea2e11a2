"""A follower of a partition: the process that copies its leader's log into a directory of its own.

What it copies, and when, is in following.py; here are the supervisor's orders, sleeping, and the end. It decides
nothing: a leader that is gone is waited for. One thread, but for syncs.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from time import monotonic_ns

from shmlog.control.channel import Channel
from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    FollowerFailed,
    FollowerReady,
    FollowerReturns,
    FollowerSpec,
    FreeDisk,
    HandOver,
    HoldRecords,
    LeaderMoved,
    MendSegment,
    Message,
    OwnerRecovering,
    SwapSegments,
)
from shmlog.control.paths import RuntimePaths
from shmlog.errors import ShmlogError, StorageError
from shmlog.log.presence import has_log
from shmlog.log.progress import Progress
from shmlog.log.storage import OsStorage
from shmlog.memory.layout import ReplicaState
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.native import inherited
from shmlog.partition.following import Following
from shmlog.partition.freed_memory import keep_freed_memory
from shmlog.partition.mending import mend_segment
from shmlog.partition.supervisor_link import SupervisorLink, report_failure
from shmlog.settings import TopicConfig
from shmlog.version import VERSION

RUN_BUDGET_NS = 20_000_000  # between two looks at the control channel
HOUSEKEEPING_NS = 1_000_000_000
CLOSE_S = 10.0  # a closing follower takes what its leader has written, but no longer than this


def run(spec: FollowerSpec, channel: Channel) -> int:
    """Follow the leader until told to close; returns the exit code. The zygote's child calls this."""
    agent: FollowerAgent | None = None
    keep_freed_memory()
    try:
        agent = FollowerAgent(spec, channel)
        agent.serve()
    except (ShmlogError, OSError) as error:
        if agent is not None:
            agent.go_offline()
        report_failure(channel if agent is None else agent.channel, FollowerFailed, error)
        return 1
    return 0


class FollowerAgent:
    """One follower. `serve` runs until Close, or until the supervisor has been gone for ORPHAN_GRACE_S."""

    def __init__(self, spec: FollowerSpec, channel: Channel) -> None:
        self._spec = spec
        meeting_place = RuntimePaths(spec.runtime_dir).workers_socket
        self._supervisor = SupervisorLink(
            channel, self._handle, meeting_place=meeting_place, introduce=self._introduction
        )
        self.region = ReplicaRegion.create(
            spec.cid8, spec.partition_id, spec.replica_id, mode=spec.shm_mode, group=spec.shm_group
        )
        assert self.region.doorbell is not None
        self._doorbell = self.region.doorbell
        self._log_dir = spec.log_dir
        self._close: Close | HandOver | None = None
        self._close_since_ns = 0
        self._next_housekeeping_ns = 0
        self._has_worked = True
        storage = OsStorage(file_mode=spec.shm_mode, group=spec.shm_group)
        storage.progress = Progress(self._report_progress)
        if spec.has_begun and not has_log(storage, spec.log_dir):
            raise StorageError(
                f"the copy of {spec.topic}-{spec.partition} is gone from {spec.log_dir}, and counts as in sync: it is"
                " made anew when a leader runs that does not count it any more"
            )
        self.following = Following(spec, self.region, storage, self._supervisor.report)
        storage.progress = None
        self.following.beat()
        log = self.following.copy.log
        self._supervisor.report(self._ready("; ".join(filter(None, (log.recovered, log.rewritten)))))

    def _ready(self, recovered: str = "") -> FollowerReady:
        return FollowerReady(
            partition_id=self._spec.partition_id,
            replica_id=self._spec.replica_id,
            log_end_offset=self.following.copy.end_offset,
            recovered=recovered,
            damaged=self.following.copy.log.damaged,
        )

    def _introduction(self) -> FollowerReturns | None:
        """To the next supervisor. One that closes or hands over ends by itself."""
        if self._close is not None:
            return None
        return FollowerReturns(VERSION, self._spec, self._ready(), self.following.waits_for)

    @property
    def channel(self) -> Channel:
        """That to the present supervisor."""
        return self._supervisor.channel

    def serve(self) -> None:
        while not self._finished():
            if self.work(monotonic_ns()) == 0:
                self._sleep()
        self._finish()

    def work(self, now_ns: int) -> int:
        """Do what there is to do, for about RUN_BUDGET_NS; 0 when there was nothing."""
        done = self._supervisor.look()
        if now_ns >= self._next_housekeeping_ns:
            self._next_housekeeping_ns = now_ns + HOUSEKEEPING_NS
            self.following.keep_house()
        return done + self.following.follow(now_ns + RUN_BUDGET_NS)

    def _report_progress(self) -> None:
        self.region.beat(monotonic_ns())
        self._supervisor.report(OwnerRecovering())

    # --- sleeping -----------------------------------------------------------------------------------------------------

    def _sleep(self) -> None:
        ticket = self._doorbell.prepare()
        try:
            busy = self._supervisor.look() or self.following.has_news() or self._finished()
        except BaseException:
            self._doorbell.cancel()
            raise
        if busy:
            self._doorbell.cancel()
        elif self._doorbell.wait(ticket, self._sleep_s(monotonic_ns())):
            self._has_worked = True
        elif self._has_worked:
            self._has_worked = False
            with contextlib.suppress(OSError):  # a sync runs in its thread, or /proc is closed: it is only memory
                inherited.give_back()

    def _sleep_s(self, now_ns: int) -> float:
        deadline_ns = self.following.next_deadline_ns(now_ns)
        deadline_ns = min(deadline_ns, self._supervisor.grace_ends_ns or deadline_ns)
        return max(0, deadline_ns - now_ns) / 1e9

    # --- the supervisor's orders, and the end -------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        match message:
            case AlterConfig(config=config):
                self.following.configure(TopicConfig.from_mapping(config))
            case FreeDisk():
                self.following.free_disk()
            case HoldRecords():
                self.following.hold(message.reason)
            case MendSegment():
                self._supervisor.report(mend_segment(self._log_dir, message))
            case SwapSegments():
                self.following.swap(message)
            case LeaderMoved():
                self.following.lead_from(message.log_dir)
                self._spec = replace(self._spec, leader_log_dir=message.log_dir)
            case Close() | HandOver():
                self._close, self._close_since_ns = message, monotonic_ns()
            case _:
                raise AssertionError(f"a follower does not get {type(message).__name__}")

    def _finished(self) -> bool:
        if self._close is None or self._supervisor.is_orphan:
            return self._supervisor.is_given_up
        has_all = bool(self.following.waits_for) or not self.following.has_news()
        return self._deletes or has_all or monotonic_ns() - self._close_since_ns > CLOSE_S * 1e9

    @property
    def _deletes(self) -> bool:
        return isinstance(self._close, Close) and self._close.delete

    def _finish(self) -> None:
        """As an orphan, leave everything as it is to the next follower."""
        if isinstance(self._close, HandOver):
            self.following.hand_over()
        else:
            self.following.close(clean=self._close is not None and not self._deletes)
        if self._close is not None:
            self.region.store_state(ReplicaState.CLOSED)
            self._supervisor.part(Closed(self.following.copy.end_offset))

    def go_offline(self) -> None:
        """Show that this follower has stopped; what it has stays for the next one."""
        self.region.store_state(ReplicaState.OFFLINE)
