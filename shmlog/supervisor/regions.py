"""Shared-memory regions that the supervisor makes, and the budget for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from shmlog.control.messages import OwnerReady
from shmlog.errors import CorruptRecordError, ForeignVersionError, ShmBudgetExceededError
from shmlog.limits import SHM_BUDGET_SHARE
from shmlog.machines.budget import BudgetMachine
from shmlog.memory import layout, names, region
from shmlog.memory.bell import ensure_bell
from shmlog.memory.client_region import create_client_region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms, create_lane
from shmlog.native.doorbell import Doorbell
from shmlog.settings import TopicConfig
from shmlog.supervisor.cgroup import free_memory_bytes
from shmlog.supervisor.identity import ClusterIdentity

log = logging.getLogger(__name__)

OWNER_BYTES = 8 << 20  # of memory that an owner has for itself (measured: 7.7 MB after 200,000 records)
CGROUP_SPARE_BYTES = 16 << 20


class Regions:
    """Makes, unlinks and counts. Everything that is made is checked against the budget first."""

    def __init__(self, identity: ClusterIdentity) -> None:
        self._identity = identity
        self._tag = identity.cid8
        self._mode = identity.config.shm_mode
        self._group = identity.shm_group
        before = sum(size for _, size in region.list_regions(self._tag))
        free = region.free_bytes()
        left = free_memory_bytes()
        if left is not None:  # a memory cgroup kills instead of refusing
            free = min(free, left)
        self.budget = BudgetMachine(
            identity.config.shm_budget_bytes or int((free + before) * SHM_BUDGET_SHARE),
            client_percent=identity.config.shm_client_percent,
        )
        self._touched = self.leftover_partitions()  # partitions that something is in shared memory of, or was

    def used_bytes(self) -> int:
        """What the cluster's regions take right now, as the file system says."""
        return sum(size for _, size in region.list_regions(self._tag))

    def _check(self, purpose: str, size_bytes: int, *, processes: int = 0) -> None:
        """Raise ShmBudgetExceededError if this is more than the budget, or the memory cgroup, has left.

        A full /dev/shm refuses by itself; a memory cgroup kills somebody instead.
        """
        self.budget.check(purpose, size_bytes)
        left = free_memory_bytes()
        needed = size_bytes + processes * OWNER_BYTES
        if left is not None and needed + CGROUP_SPARE_BYTES > left:
            raise ShmBudgetExceededError(
                f"{purpose} needs {needed} bytes of memory, processes included; the memory control group leaves {left},"
                f" of which {CGROUP_SPARE_BYTES} stay free, because beyond its limit the kernel kills: raise MemoryMax"
                " (systemd) or --memory (docker), lower max.message.bytes, or use fewer partitions and producers"
            )

    # --- partitions ---------------------------------------------------------------------------------------------------

    def check_partitions(self, config: TopicConfig, count: int) -> None:
        """Raise ShmBudgetExceededError if `count` more partitions would be too much."""
        purpose = f"{count} partition(s) with rings of {config.ring_bytes} bytes"
        self._check(purpose, count * _at_first(config), processes=count)

    def reserve_partition(self, partition_id: int, config: TopicConfig) -> None:
        """Count a partition before its owner has made anything."""
        self._take_at_least(partition_id, _at_first(config))

    def check_growth(self, partition_ids: Iterable[int], config: TopicConfig) -> None:
        """Raise ShmBudgetExceededError if the rings that these settings may ask for would be too much.

        A running owner grows its ring when the first batch comes that needs it, and asks nobody then.
        """
        more = sum(max(0, _at_first(config) - self.budget.size_bytes(f"p{one}")) for one in partition_ids)
        self._check(f"growth of its rings to {config.ring_bytes} bytes", more)

    def count_partition(self, ready: OwnerReady) -> None:
        """Count what its owner says it has. What it may still grow to stays counted."""
        size = ready.ring_bytes + ready.index_entries * layout.IDX_ENTRY_BYTES + _FIXED_BYTES
        self._take_at_least(ready.partition_id, size)

    def _take_at_least(self, partition_id: int, size_bytes: int) -> None:
        name = f"p{partition_id}"
        self.budget.take(name, max(size_bytes, self.budget.size_bytes(name)), _PARTITIONS)

    def may_have_leftovers(self, partition_id: int) -> bool:
        """Whether the owner that starts next may find rings of an earlier one; False once at most, for the first one of
        a partition of which nothing was there when this supervisor began."""
        known = partition_id in self._touched
        self._touched.add(partition_id)
        return known

    def had_leftovers(self, partition_id: int) -> bool:
        """Whether something of a partition was in shared memory when this supervisor began, or an owner ran since."""
        return partition_id in self._touched

    def bell(self, partition_id: int) -> Doorbell:
        """The bell of a partition, made if it is not there."""
        return ensure_bell(self._tag, partition_id, mode=self._mode, group=self._group)

    def drop_partition(self, partition_id: int) -> None:
        """Unlink everything of a partition."""
        prefix = names.control_page(self._tag, partition_id).removesuffix("ctl")
        for name, _ in region.list_regions(self._tag):
            if name.startswith(prefix):
                region.unlink(name)
        self.budget.release(f"p{partition_id}")

    # --- clients and lanes --------------------------------------------------------------------------------------------

    def make_client(self, client_id: int) -> str:
        name = names.client(self._tag, client_id)
        self._check("a client", layout.CLIENT_SIZE)
        create_client_region(name, client_id=client_id, mode=self._mode, group=self._group)
        self.budget.take(name, layout.CLIENT_SIZE)
        return name

    def make_lane(self, lane_id: int, terms: LaneTerms, *, where: str, linger_us: int) -> str:
        """A lane to the partition `where`."""
        name = names.lane(self._tag, lane_id)
        size_bytes = layout.LANE_DATA + terms.data_bytes
        self._check(f"a lane to {where}", size_bytes)
        holder = _client(terms.client_id)
        self.budget.check_share(
            f"a lane to {where}",
            size_bytes,
            holder=holder,
            held_bytes=self.budget.held_bytes(holder),
            for_clients=self.budget.limit_bytes - self.budget.held_bytes(_PARTITIONS),
        )
        create_lane(
            name,
            lane_id=lane_id,
            data_bytes=terms.data_bytes,
            linger_us=linger_us,
            mode=self._mode,
            group=self._group,
        )
        self.budget.take(name, size_bytes, holder)
        return name

    def adopt_client(self, name: str) -> None:
        """Count a client region that an earlier supervisor made."""
        self.budget.take(name, layout.CLIENT_SIZE)

    def adopt_lane(self, name: str, terms: LaneTerms) -> None:
        """Count a lane that an earlier supervisor made."""
        self.budget.take(name, layout.LANE_DATA + terms.data_bytes, _client(terms.client_id))

    def unlink(self, name: str) -> None:
        """Remove a client region or lane; who has it mapped keeps it."""
        region.unlink(name)
        self.budget.release(name)

    def leftover_numbers(self, kind: str) -> list[int]:
        """Numbers of the lanes ("l") or client regions ("c") that exist."""
        prefix = f"{names.PREFIX}{self._tag}.{kind}"
        found = [name.removeprefix(prefix) for name, _ in region.list_regions(self._tag) if name.startswith(prefix)]
        return [int(number) for number in found if number.isdigit()]

    def leftover_partitions(self) -> set[int]:
        """Ids of the partitions that have any region."""
        prefix = f"{names.PREFIX}{self._tag}.p"
        found = [name.removeprefix(prefix) for name, _ in region.list_regions(self._tag) if name.startswith(prefix)]
        return {int(rest.partition(".")[0]) for rest in found if rest.partition(".")[0].isdigit()}

    def sweep_lanes(self, needed: Callable[[int], bool], *, keep_partitions: set[int]) -> None:
        """Unlink the lanes that are not `needed`, but for those that these partitions have, by their lane tables.

        None while one of these tables cannot be read: what was accepted may be in any of them.
        """
        kept: set[int] = set()
        for partition_id in keep_partitions:
            try:
                page = ControlPage.open(self._tag, partition_id)
            except FileNotFoundError:  # so nothing was ever attached
                continue
            except (CorruptRecordError, ForeignVersionError) as error:
                log.warning("lanes that nobody uses stay: %s", error)
                return
            kept.update(lane.lane_id for lane in page.lanes())
            page.close()
        for lane_id in self.leftover_numbers("l"):
            if lane_id not in kept and not needed(lane_id):
                region.unlink(names.lane(self._tag, lane_id))

    def sweep(self, *, keep_partitions: set[int], keep_clients: bool) -> None:
        """Unlink everything of the cluster but the rings of these partitions, the lanes that feed them, and, if that is
        wanted, the regions of clients, in which members of groups commit."""
        if not keep_partitions:
            region.sweep(self._tag)
            return
        for partition_id in self.leftover_partitions() - keep_partitions:
            self.drop_partition(partition_id)
        for client_id in () if keep_clients else self.leftover_numbers("c"):
            region.unlink(names.client(self._tag, client_id))
        self.sweep_lanes(lambda _: False, keep_partitions=keep_partitions)


_PARTITIONS = "partitions"
_FIXED_BYTES = layout.CTL_SIZE + layout.BELL_SIZE


def _at_first(config: TopicConfig) -> int:
    """Ring, index, control page and bell of a partition."""
    ring_bytes = region.page_align(config.ring_bytes)
    return ring_bytes + region.index_entries(ring_bytes) * layout.IDX_ENTRY_BYTES + _FIXED_BYTES


def _client(client_id: int) -> str:
    """Who holds its lanes, as the budget and its errors call it."""
    return f"client {client_id}"
