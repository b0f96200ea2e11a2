"""The leader's followers: their regions, which of them the high watermark waits for, who is reported to lag, and
whether enough are in sync for it to move at all.

What they have is read in native/log_end, with every group of batches; here is what needs no hurry. A region that is
missing, spoiled or cut is its follower's trouble: the leader believes nothing of it and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns

from shmlog.control.messages import FollowerAt, Message, OwnerSpec, ReplicaCaughtUp, ReplicaLags
from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.machines.in_sync_count import InSyncCount
from shmlog.machines.replica_lag import CaughtUp, Count, Lags, ReplicaLagMachine, Seen, Standing
from shmlog.memory import region
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.partition.full_disk import errno_of_full_disk
from shmlog.partition.opened import OpenPartition
from shmlog.partition.watermark_note import WatermarkNote
from shmlog.settings import TopicConfig

NEVER_NS = (1 << 63) - 1
LOOKS_PER_LAG = 8  # in the time that makes a follower too slow
COPIES_S = 0.1  # a ring that is replaced waits so long for followers
LOOK_NS_MAX = 125_000_000  # however long that is: who has caught up should not wait to be counted

_FAULTS = {
    "": "",
    "absent": "",
    "went back": "its region says that it has less of the log than it had, or that it follows another leader",
    "beyond": "its region says that it has more than the leader's log",
}


class Followers:
    """The followers of one partition, in its owner's hands: the owner's thread only."""

    def __init__(self, spec: OwnerSpec, opened: OpenPartition, report: Callable[[Message], None]) -> None:
        """Those that `spec` names. The caller settles the publisher afterwards."""
        self._partition_id = spec.partition_id
        self._control = opened.control
        self._publisher = opened.publisher
        self._bell = opened.bell
        self._report = report
        self._note = WatermarkNote(opened.storage, spec.log_dir, opened.control)
        self._replicas = spec.replicas
        self._min_insync_replicas = opened.config.min_insync_replicas
        self._lag_max_ns = opened.config.replica_lag_time_max_ms * 1_000_000
        self.is_short = False
        """Whether fewer are in sync than min.insync.replicas asks for."""
        self._regions: dict[int, ReplicaRegion] = {}
        self._identities: dict[str, tuple[int, int] | None] = {}
        self._take(0, spec.followers)

    def replace(self, version: int, followers: Sequence[FollowerAt]) -> None:
        """The supervisor's word: these are all, and the in-sync ones are so durably."""
        self._take(version, followers)
        self._publisher.settle()

    def configure(self, config: TopicConfig) -> None:
        """Its replica.lag.time.max.ms and min.insync.replicas hold from now on."""
        self._lag_max_ns = self._machine.lag_max_ns = config.replica_lag_time_max_ms * 1_000_000
        self._min_insync_replicas = config.min_insync_replicas
        self._count_in_sync()
        self._publisher.settle()

    def _take(self, version: int, followers: Sequence[FollowerAt]) -> None:
        self._version = version
        self._followers = list(followers)
        self._machine = ReplicaLagMachine(self._lag_max_ns, ((one.replica_id, one.in_sync) for one in followers))
        self._look_at_ns = 0
        self._settled_end = -1
        self._count_in_sync()
        self._attach()

    def _count_in_sync(self) -> None:
        in_sync = 1 + sum(one.in_sync for one in self._followers)
        count = InSyncCount.of(self._replicas, in_sync, self._min_insync_replicas)
        self._control.store_in_sync(count.in_sync, count.needed)
        self._publisher.hold_under_min_isr(count.is_short)
        self.is_short = count.is_short

    def _attach(self) -> None:
        """Map the regions that are there now. One that is still the same stays mapped: its fault is not forgotten."""
        old, before = self._regions, self._identities
        self._identities = {one.region: region.identity(one.region) for one in self._followers}
        self._missing: dict[int, str] = {}
        self._regions = {}
        for one in self._followers:
            is_same = before.get(one.region) == self._identities[one.region]
            mapped = old.pop(one.replica_id) if is_same and one.replica_id in old else self._open(one)
            if mapped is not None:
                self._regions[one.replica_id] = mapped
        mappings = {replica_id: mapped.mapping for replica_id, mapped in self._regions.items()}
        self._publisher.use_followers(
            [(one.replica_id, mappings.get(one.replica_id), self._counts(one.replica_id)) for one in self._followers]
        )
        for mapped in old.values():
            mapped.close()

    def _open(self, follower: FollowerAt) -> ReplicaRegion | None:
        try:
            return ReplicaRegion.open(follower.region, self._partition_id, writable=True)
        except (OSError, CorruptRecordError, ForeignVersionError) as error:
            self._missing[follower.replica_id] = f"its region {follower.region} cannot be mapped: {error}"
            return None

    def _counts(self, replica_id: int) -> bool:
        return self._machine.standing(replica_id) is not Standing.OUT

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(self, now_ns: int) -> None:
        """See who has caught up and who lags, if it is time for that, and tell the supervisor."""
        if not self._has_watermark or now_ns < self._look_at_ns:
            return
        self._look_at_ns = now_ns + max(1_000_000, min(self._lag_max_ns // LOOKS_PER_LAG, LOOK_NS_MAX))
        if any(region.identity(name) != known for name, known in self._identities.items()):
            self._attach()  # one of them was started again
        seen = [Seen(one, progress, _FAULTS[fault]) for one, progress, fault in self._publisher.look_at_followers()]
        watermark = self._control.high_watermark
        for decision in self._machine.look(now_ns, self._publisher.reachable_offset, watermark, seen):
            match decision:
                case Count(replica_id, counts):
                    self._publisher.count_follower(replica_id, counts)
                case CaughtUp(replica_id):
                    self._report(ReplicaCaughtUp(self._version, replica_id))
                case Lags(replica_id, lag_records, fault):
                    reason = fault or self._missing.get(replica_id, "")
                    self._report(ReplicaLags(self._version, replica_id, lag_records, reason))
        self._settled_end = -1 if self._machine.waits() else self._publisher.tail_offset
        self._note.keep(now_ns)

    @property
    def _has_watermark(self) -> bool:
        """Of its own: else all that is written is shown."""
        return bool(self._followers) or self._publisher.under_min_isr

    @property
    def turn_ns(self) -> int:
        """When look() is to be called next while records come."""
        return self._look_at_ns if self._has_watermark else NEVER_NS

    @property
    def next_deadline_ns(self) -> int:
        """When look() is to be called next though nothing comes."""
        if not self._has_watermark:
            return NEVER_NS
        if self._publisher.tail_offset != self._settled_end:  # somebody was behind, or may be by now
            return self._look_at_ns
        return max(self._look_at_ns, self._note.next_deadline_ns)

    def close(self) -> None:
        """The owner has closed its log."""
        if self._has_watermark:
            errno_of_full_disk(self._note.store)  # else there is an older note, or none

    @property
    def will_get_on(self) -> bool:
        """Whether there are followers for which the watermark waits, for as long as a follower may lag at most: under
        min.insync.replicas it may stand still for ever, and then lanes are closed only that nobody waits for."""
        return bool(self._followers) and not self.is_short

    def wait_for_copies(self) -> None:
        """Until those in sync that keep up have all of the log, before a ring goes that may be all that has it besides
        the leader's files; for COPIES_S at most, so that who takes over without the files loses next to nothing."""
        deadline_ns = monotonic_ns() + int(COPIES_S * 1e9)
        while self._somebody_copies() and (left_ns := deadline_ns - monotonic_ns()) > 0:
            ticket = self._bell.prepare()
            if not self._somebody_copies():
                self._bell.cancel()
            elif not self._bell.wait(ticket, left_ns / 1e9):
                return

    def _somebody_copies(self) -> bool:
        return any(
            self._machine.standing(replica_id) is Standing.IN and copy.written_offset < self._publisher.written_offset
            for replica_id, copy in self._regions.items()
        )

    def would_lag(self, behind_ns: int) -> bool:
        """Whether there are followers, and one of them that was behind for so long would lag."""
        return bool(self._followers) and behind_ns > self._lag_max_ns

    def are_waited_for(self) -> bool:
        """Whether those that keep up will soon have more of the log than they have."""
        behind = self._control.high_watermark < self._publisher.tail_offset
        can_advance = bool(self._followers) and not self._publisher.under_min_isr
        return can_advance and behind and not self._machine.somebody_lags()
