"""The owner of a partition: the process that publishes its records, writes its log and answers its supervisor.

The data path is native/publish; this agent does what happens around it: rolling, syncing, retention, lanes and clients
that come and go, and sleeping when there is nothing to do. One thread.
"""

from __future__ import annotations

import contextlib
from time import monotonic_ns

from shmlog.control.channel import Channel
from shmlog.control.messages import (
    AlterConfig,
    AttachClient,
    AttachLane,
    ClientAttached,
    Close,
    Closed,
    DetachClient,
    DetachLane,
    FollowersAre,
    LaneAttached,
    LaneDetached,
    LogRefused,
    LogRewritten,
    LogSizeOrder,
    MendSegment,
    Message,
    OwnerFailed,
    OwnerReady,
    OwnerRecovering,
    OwnerReturns,
    OwnerSpec,
    StepDown,
    SwapSegments,
    TopicsAre,
    Trace,
)
from shmlog.control.paths import RuntimePaths
from shmlog.errors import (
    CorruptRecordError,
    ForeignVersionError,
    ShmBudgetExceededError,
    ShmlogError,
    UnsupportedCompressionTypeError,
)
from shmlog.limits import IDLE_SLEEP_S, LANE_IDLE_CLOSE_S, REST_S
from shmlog.log.progress import Progress
from shmlog.memory import layout
from shmlog.memory.lane import LaneTerms
from shmlog.memory.layout import OwnerState
from shmlog.native import inherited, publish
from shmlog.native.duty_cycle import rest
from shmlog.partition.client_bells import ClientBells
from shmlog.partition.coordinating import coordinator_of
from shmlog.partition.disk_room import DiskRoom
from shmlog.partition.followers import Followers
from shmlog.partition.full_disk import errno_of_full_disk
from shmlog.partition.lane_desk import LaneDesk
from shmlog.partition.log_keeper import LogKeeper
from shmlog.partition.mending import mend_segment
from shmlog.partition.opening import open_partition
from shmlog.partition.refusals import Refusals
from shmlog.partition.regeneration import RingFit, grow_ring
from shmlog.partition.sealed_watch import SealedWatch
from shmlog.partition.supervisor_link import SupervisorLink, report_failure
from shmlog.settings import TopicConfig
from shmlog.version import VERSION

RUN_BUDGET_NS = 20_000_000  # between two looks at the control channel
HOUSEKEEPING_NS = 1_000_000_000
REFUSED_SLEEP_S = 0.1  # until what found no room is tried again


def run(spec: OwnerSpec, channel: Channel) -> int:
    """Own the partition until told to close; returns the exit code. The zygote's child calls this."""
    try:
        agent = OwnerAgent(spec, channel)
    except (ShmlogError, OSError) as error:
        report_failure(channel, OwnerFailed, error)
        return 1
    try:
        agent.serve()
    except (ShmlogError, OSError) as error:
        agent.go_offline(error)
        report_failure(agent.channel, OwnerFailed, error)
        return 1
    return 0


class OwnerAgent:
    """One partition's owner. `serve` runs until Close, or until the supervisor has been gone for ORPHAN_GRACE_S."""

    def __init__(self, spec: OwnerSpec, channel: Channel) -> None:
        meeting_place = RuntimePaths(spec.runtime_dir).workers_socket
        self._supervisor = SupervisorLink(
            channel, self._handle, meeting_place=meeting_place, introduce=self._introduction
        )
        opened = open_partition(spec, Progress(lambda: self._supervisor.report(OwnerRecovering())))
        self._spec = spec
        self._control = opened.control
        self._page = opened.control.mapping
        self._bell = opened.bell
        self._publisher = opened.publisher
        self._config = opened.config
        self._keeper = LogKeeper(opened.control, opened.publisher, opened.log, opened.bell)
        self._keeper.configure(opened.config)
        self._room = DiskRoom(opened.control, self._keeper, opened.publisher, spec.log_dir, self._supervisor.report)
        self._desk = LaneDesk(opened.control, opened.publisher, spec.cid8, opened.largest_batch)
        self._clients = ClientBells(opened.publisher)
        self._followers = Followers(spec, opened, self._supervisor.report)
        self._close: Close | None = None
        self._steps_down = False
        self._close_since_ns = 0
        self._next_housekeeping_ns = 0
        self._refusals = Refusals(f"{spec.topic}-{spec.partition}")
        self._has_worked = True
        self._fit = RingFit.begin(self._publisher.tail_pos, monotonic_ns())
        self._desk.recover(opened.end)
        self._coordinator = coordinator_of(spec, opened)
        self._keeper.settle()
        self._control.store_error_text("")
        self._page.store(layout.CTL_HEARTBEAT_NS, monotonic_ns())  # stopped right after this, it must be missed
        self._page.store(layout.CTL_STATE, OwnerState.RUN)
        self._damaged = opened.log.damaged
        self._supervisor.report(self._ready(opened.recovered))
        opened.storage.progress = None  # its heart beats in the control page from now on
        self._keeper.on_rewritten = lambda sentence: self._supervisor.report(LogRewritten(sentence))
        if opened.log.rewritten:
            self._supervisor.report(LogRewritten(opened.log.rewritten))
        report = self._supervisor.report
        self._sealed_watch = SealedWatch(opened.log.sealed, opened.storage, self._keeper.beat, report)

    def _ready(self, recovered: str = "") -> OwnerReady:
        return OwnerReady(
            partition_id=self._spec.partition_id,
            leader_epoch=self._spec.leader_epoch,
            generation=self._control.generation,
            ring_bytes=self._publisher.capacity,
            index_entries=self._publisher.index_entries,
            log_start_offset=self._control.log_start_offset,
            log_end_offset=self._publisher.tail_offset,
            lanes=self._desk.list(),
            recovered=recovered,
            damaged=self._damaged,
        )

    def _introduction(self) -> OwnerReturns | None:
        """To the next supervisor. One that closes or steps down ends by itself, and has a successor then."""
        if self._close is not None or self._steps_down:
            return None
        return OwnerReturns(VERSION, self._spec, self._ready(), self._clients.ids())

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
        outcome, hold = self._room.run(self._publisher, RUN_BUDGET_NS, closes=self._close is not None)
        disk_refusal = hold or self._carry_out(outcome)
        self._note_refusals(disk_refusal)
        is_free = disk_refusal or outcome in (publish.IDLE, publish.FAILED, publish.BUSY)
        done = self._supervisor.look() if is_free else 1
        if self._desk.is_closing:
            done += self._let_lanes_go()
        if now_ns >= self._next_housekeeping_ns:
            self._next_housekeeping_ns = now_ns + HOUSEKEEPING_NS
            if not self._followers.is_short:  # who is silent may wait for what is not shown: see LaneDesk.drained
                self._desk.close_idle(now_ns, int(LANE_IDLE_CLOSE_S * 1e9))
            self._publisher.stop_trace(now_ns)
            errno_of_full_disk(self._keeper.keep)  # else a second later
            self._fit_ring(now_ns, disk_refusal)
        elif self._fit.is_due(self._publisher.capacity, self._publisher.tail_pos):
            self._fit_ring(now_ns, disk_refusal)
        self._followers.look(now_ns)
        self._keeper.sync_aside(now_ns)
        self._sealed_watch.look(now_ns)
        done += self._coordinator.look(now_ns)
        return done if disk_refusal or outcome == publish.IDLE else 1

    def _fit_ring(self, now_ns: int, disk_refusal: str) -> None:
        publisher = self._publisher
        wanted = self._fit.wanted_bytes(self._config, publisher.capacity, publisher.tail_pos, now_ns)
        if wanted != publisher.capacity and not disk_refusal and publisher.written_pos == publisher.tail_pos:
            with contextlib.suppress(ShmBudgetExceededError):  # this one does
                self._followers.wait_for_copies()
                grow_ring(self._spec, wanted, self._control, publisher)

    def _carry_out(self, outcome: int) -> str:
        """What the publisher cannot do itself. Returns what the disk has no room for now, in a sentence; else "".

        Raises StorageError for a disk that is not merely full.
        """
        match outcome:
            case publish.FAILED:
                return self._room.refusal(self._publisher.last_errno)
            case publish.ROLL:
                return self._room.refusal(errno_of_full_disk(self._keeper.roll))
            case publish.GROW:
                self._followers.wait_for_copies()
                try:
                    grow_ring(self._spec, self._desk.ring_bytes_needed(self._config), self._control, self._publisher)
                except ShmBudgetExceededError as error:
                    self._refusals.growth = f"a batch waits for a larger ring: {error}"
                    self._publisher.defer_growth(monotonic_ns() + int(REFUSED_SLEEP_S * 1e9))
            case publish.SYNC:
                self._keeper.sync()
        return ""

    # --- sleeping -----------------------------------------------------------------------------------------------------

    def _sleep(self) -> None:
        """Until something comes that needs this agent; records alone do not, unless a clock or somebody waits."""
        is_needed = self._refusals.what or self._desk.is_closing or self._close is not None
        is_needed = is_needed or self._keeper.follows_clock or self._coordinator.is_here
        tail_pos = self._publisher.tail_pos
        if is_needed or self._supervisor.is_orphan:
            only_time_passed = not self._sleep_once()
        else:
            now_ns = monotonic_ns()
            only_time_passed = not rest(
                self._publisher,
                self._bell,
                channel_fd=self._supervisor.fileno(),
                until_ns=now_ns + int(self._sleep_s(now_ns) * 1e9),
                turn_ns=min(self._next_housekeeping_ns, self._followers.turn_ns),
                look_ns=int(IDLE_SLEEP_S * 1e9),
                budget_ns=RUN_BUDGET_NS,
            )
        if self._publisher.tail_pos != tail_pos or not only_time_passed:
            self._has_worked = True
        elif self._has_worked:
            self._has_worked = False
            self._give_memory_back()

    def _sleep_once(self) -> bool:
        """False: nobody rang."""
        ticket = self._bell.prepare()
        try:
            can_work = self._refusals.what != "disk"
            busy = self._supervisor.look() or (can_work and self._publisher.has_work()) or self._finished()
            busy = busy or self._coordinator.has_news
        except BaseException:
            self._bell.cancel()
            raise
        if busy:
            self._bell.cancel()
            return True
        self._publisher.count_sleep()
        return self._bell.wait(ticket, self._sleep_s(monotonic_ns()))

    def _give_memory_back(self) -> None:
        """When nobody waits: keep private only what is not as the zygote left it."""
        with contextlib.suppress(OSError):  # a sync runs in its thread, or /proc is closed: it is only memory
            inherited.give_back()

    def _sleep_s(self, now_ns: int) -> float:
        if self._refusals.what == "disk":
            return REFUSED_SLEEP_S
        deadline_ns = min(
            now_ns + int((IDLE_SLEEP_S if self._has_worked or not self._desk.is_empty else REST_S) * 1e9),
            self._publisher.next_deadline_ns,
            self._keeper.next_deadline_ns(now_ns),
            self._sealed_watch.next_deadline_ns,
            self._followers.next_deadline_ns,
            self._coordinator.next_deadline_ns(),
            self._supervisor.grace_ends_ns or now_ns + int(REST_S * 1e9),
        )
        return max(0, deadline_ns - now_ns) / 1e9

    # --- the supervisor's orders --------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        match message:
            case AttachLane(lane_id=lane_id, terms=terms):
                self._attach_lane(lane_id, terms)
            case DetachLane():
                self._detach_lane(message)
            case AttachClient(client_id=client_id, region=region):
                self._clients.attach(client_id, region)
                self._supervisor.report(ClientAttached(client_id))
            case DetachClient(client_id=client_id):
                self._clients.detach(client_id)
            case FollowersAre(version=version, followers=followers):
                self._followers.replace(version, followers)
            case order if isinstance(order, LogSizeOrder):
                self._room.obey(order)
            case AlterConfig(config=config):
                self._alter(TopicConfig.from_mapping(config))
            case MendSegment():
                self._supervisor.report(mend_segment(self._spec.log_dir, message))
            case TopicsAre():
                self._coordinator.topics_are(message)
            case SwapSegments():
                self._keeper.swap(message, self._supervisor.report)
            case Trace(until_ns=until_ns, interval_ns=interval_ns):
                self._publisher.trace(until_ns, interval_ns)
            case StepDown():
                self._steps_down = True
            case Close():
                self._coordinator.close()
                self._close, self._close_since_ns = message, monotonic_ns()
                self._page.store(layout.CTL_STATE, OwnerState.DELETED if message.delete else OwnerState.CLOSING)
                self._desk.close_all()
            case _:
                raise AssertionError(f"an owner does not get {type(message).__name__}")

    def _attach_lane(self, lane_id: int, terms: LaneTerms) -> None:
        """A lane that cannot be attached is that producer's trouble, never the partition's."""
        try:
            self._desk.attach(lane_id, terms)
        except (
            FileNotFoundError,
            CorruptRecordError,
            ForeignVersionError,
            ShmBudgetExceededError,
            UnsupportedCompressionTypeError,
        ):
            self._supervisor.report(LaneDetached(lane_id, "quarantined", 0))
        else:
            self._supervisor.report(LaneAttached(lane_id))

    def _detach_lane(self, order: DetachLane) -> None:
        if order.lane_id in self._publisher.lane_ids():
            self._desk.begin_close(order.lane_id, order.reason)
        else:
            self._supervisor.report(LaneDetached(order.lane_id, order.reason, 0))

    def _alter(self, config: TopicConfig) -> None:
        """Lanes that are attached keep their limits. A larger ring comes with the first batch that needs it."""
        self._config = config
        self._desk.max_batch_bytes = max(self._desk.max_batch_bytes, config.max_message_bytes)
        self._keeper.configure(config)
        self._followers.configure(config)

    def _let_lanes_go(self) -> int:
        waits = self._followers.will_get_on and self._close is None
        drained = self._desk.drained(self._control.high_watermark) if waits else self._desk.drained()
        for lane_id, reason, records in drained:
            self._supervisor.report(LaneDetached(lane_id, reason, records))
        return len(drained)

    def _note_refusals(self, disk_refusal: str) -> None:
        """Say what has no room. Raises StorageError in a closing owner that has waited long enough."""
        if self._refusals.growth and not self._publisher.growth_is_awaited():
            self._refusals.growth = ""
        now_ns, was = monotonic_ns(), self._refusals.what
        closing_since_ns = None if self._close is None else self._close_since_ns
        changed = self._refusals.note(disk_refusal, closing_since_ns=closing_since_ns)
        if changed is not None:
            self._control.store_error_text(changed)
        elif was == "disk" and self._followers.would_lag(now_ns - self._refusals.since_ns):
            self._refusals.since_ns = now_ns
            self._supervisor.report(LogRefused(disk_refusal))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        if self._supervisor.is_given_up:
            return True
        return self._steps_down or (self._close is not None and self._is_drained())

    def _is_drained(self) -> bool:
        """All that was accepted is written, also by who keeps up. (A deleted topic's last records need not be.)"""
        assert self._close is not None
        if self._close.delete:
            return self._desk.is_empty or bool(self._refusals.what)
        all_written = self._desk.is_empty and self._publisher.written_pos == self._publisher.tail_pos
        return all_written and self._coordinator.is_drained and not self._followers.are_waited_for()

    def _finish(self) -> None:
        """As an orphan, or when another replica shall lead, leave ring and lanes to the next owner: their producers may
        live."""
        self._coordinator.close()
        if self._close is None or not self._is_drained():
            self._keeper.close(clean=False)
            if self._steps_down:
                self._supervisor.part(Closed(self._publisher.tail_offset))
            return
        self._keeper.close(clean=not self._close.delete)
        if not self._close.delete:
            self._followers.close()
            self._page.store(layout.CTL_STATE, OwnerState.CLOSED)
        self._publisher.settle()
        self._supervisor.part(Closed(self._publisher.tail_offset))

    def go_offline(self, error: Exception) -> None:
        """Say in the ctl region why the partition stopped; what is in ring and lanes stays for a successor."""
        self._control.store_error_text(str(error))
        self._page.store(layout.CTL_STATE, OwnerState.OFFLINE)
