"""The daemon of a replicated partition in one thread: the real supervisor's parts, and the processes that it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shmlog.control.messages import AttachLane, FollowerSpec, LaneAttached, LaneDetached, OwnerReady
from shmlog.control.paths import RuntimePaths
from shmlog.machines.metadata import Partition
from shmlog.machines.metadata_records import InSyncChanged, LeaderEpochRaised, MetadataRecord
from shmlog.machines.replication import Silent
from shmlog.machines.supervision import Standing, Unanswered
from shmlog.memory import names
from shmlog.memory.bell import ensure_bell
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.settings import ClusterConfig
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.failover import Failover
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.testing.partition_rig import TOPIC_NAME
from tests.simulation.clients import Producer
from tests.simulation.kernel import Kernel, SimulatedLoop
from tests.simulation.processes import Process, Zygote

CLUSTER = {"owner.unresponsive.ms": "1000", "owner.restart.backoff.max.ms": "1000"}
TOPIC = {"max.message.bytes": "4096", "index.interval.bytes": "300", "file.delete.delay.ms": "0"}


class Cluster(OwnerWatcher):
    """One partition with `replicas` replicas, each in a log directory of its own. `trace`: what happened, a line each.

    What must hold at every moment is asserted where it happens: epochs rise, no log has two processes, there is one
    owner, and the high watermark does not go back.
    """

    def __init__(self, directory: Path, replicas: int, config: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.tag = names.cluster_tag("sim", str(directory))
        self.config = TOPIC | (config or {})
        self.replicas = replicas
        self.trace: list[str] = []
        self.kernel = Kernel()
        self.kernel.killed, self.kernel.has_exited = self._signalled, self._has_exited
        self.processes: dict[int, Process] = {}
        self.producers: list[Producer] = []
        self.epoch = -1
        self.logless: dict[int, bool] = {}
        """Replicas that have lost their log, and whether they still count as in sync from before."""
        self.watermark = 0
        """Of the high watermarks that an owner showed, the last."""
        self.leader_directory = [""]
        """Where consumers open files, as the supervisor would tell them."""
        directories = []
        for number in range(replicas):
            (directory / f"d{number}").mkdir()
            directories.append(LogDirectory(f"d{number}", str(directory / f"d{number}")))
        self.identity = ClusterIdentity(
            name="sim",
            cluster_id="id",
            cid8=self.tag,
            runtime=RuntimePaths(str(directory / "run")),
            data_dir=str(directory / "d0"),
            config=ClusterConfig.from_mapping(CLUSTER),
            shm_group=None,
            started_ms=0,
            directories=LogDirectories(directories),
        )

    # --- the supervisor -----------------------------------------------------------------------------------------------

    def start_supervisor(self) -> None:
        """As after its death: from what is in the metadata log."""
        self.loop = SimulatedLoop(self.kernel)
        self.catalog = Catalog(self.identity.data_dir, self.identity.config, directory_id="d0")
        commit = self.catalog.commit
        self.catalog.commit = lambda records: self._commit(commit, records)  # type: ignore[method-assign]  # it is traced
        if not self.catalog.machine.topics():
            step = self.catalog.machine.create_topic(
                TOPIC_NAME,
                topic_id="A" * 22,
                partitions=1,
                replication_factor=self.replicas,
                config=self.config,
                directories=[f"d{number}" for number in range(self.replicas)],
            )
            self.catalog.commit(step.records)
        zygote: Any = Zygote(self.kernel, self.loop, self._born)
        regions: Any = SimpleNamespace(
            reserve_partition=lambda *_: None,
            count_partition=lambda *_: None,
            bell=lambda partition_id: ensure_bell(self.tag, partition_id, mode=0o600),
            may_have_leftovers=lambda _: True,
            had_leftovers=lambda _: True,
        )
        self.owners = Owners(self.loop, self.identity, self.catalog, regions, zygote)
        self.followers = Followers(self.loop, self.identity, self.catalog, self.owners, zygote)
        self.failover = Failover(self.loop, self.catalog, self.owners, self.followers)
        self.owners.watchers.append(self)
        self._note_leader()
        self.followers.want([self.partition])
        self.owners.want([self.partition])

    def _commit(
        self, commit: Callable[[tuple[MetadataRecord, ...]], None], records: tuple[MetadataRecord, ...]
    ) -> None:
        commit(records)
        for record in records:
            match record:
                case LeaderEpochRaised(leader_epoch=epoch):
                    assert epoch > self.epoch, f"epoch {epoch} after epoch {self.epoch}"
                    self.epoch = epoch
                    self.note(f"metadata: leader epoch {epoch}")
                case InSyncChanged(leader=leader, in_sync=in_sync):
                    self._follow_in_sync(in_sync)
                    self.note(f"metadata: replica {leader} leads, in sync {in_sync}")
                    self._note_leader()

    def _follow_in_sync(self, in_sync: Sequence[int]) -> None:
        """Who has left the set since its log was lost has another one when it is back."""
        for replica_id, counts in list(self.logless.items()):
            if replica_id not in in_sync:
                self.logless[replica_id] = False
            elif not counts:
                del self.logless[replica_id]

    def _note_leader(self) -> None:
        self.leader_directory[0] = str(self.log_directory(self.partition.leader))

    @property
    def partition(self) -> Partition:
        (partition,) = self.catalog.machine.partitions()
        return partition

    @property
    def partition_id(self) -> int:
        return self.partition.partition_id

    def log_directory(self, replica_id: int) -> Path:
        return Path(self.identity.directories.log_directory(self.partition, replica_id))

    def turn_supervisor(self) -> None:
        """What it has to do now, and a look at who has been silent for too long."""
        for process in self.living():
            since_ns = process.stopped_ns
            if since_ns is None:
                continue
            if isinstance(process.spec, FollowerSpec):
                self.followers.observe(Silent(self.partition_id, process.spec.replica_id, since_ns))
            elif process.agent is None:
                self.owners.observe(Standing(self.partition_id, since_ns))
            else:
                self.owners.observe(Unanswered(self.partition_id, since_ns))
        self.loop.run_once()

    def stop_supervisor(self) -> None:
        """And all processes with it, dead where they stand."""
        for process in self.living():
            process.kill()
        for worker in (*self.owners._owners.values(), *self.followers._processes.values()):
            worker.close()
        self.loop.close()
        self.catalog.close(clean=False)

    # --- lanes, as the supervisor keeps them --------------------------------------------------------------------------

    def owner_ready(self, ready: OwnerReady) -> None:
        held = {lane.lane_id for lane in ready.lanes}
        self.note(f"ready: epoch {ready.leader_epoch}, offsets up to {ready.log_end_offset}")
        for producer in self.producers:
            if producer.number in held:
                producer.is_attached = True
            elif not producer.is_spoiled:
                self._attach(producer)

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        for producer in self.producers:
            if isinstance(report, LaneAttached) and report.lane_id == producer.number:
                producer.is_attached = True
            if isinstance(report, LaneDetached) and report.lane_id == producer.number:
                producer.is_spoiled = True

    def _attach(self, producer: Producer) -> None:
        owner = self.owners.running(self.partition_id)
        if owner is not None:
            self.owners.send(owner, AttachLane(producer.number, producer.region, producer.terms))

    # --- processes ----------------------------------------------------------------------------------------------------

    def _born(self, process: Process) -> None:
        rivals = [one for one in self.living() if one.is_owner and process.is_owner]
        assert not rivals, f"{process.title} is started while {rivals[0].title} lives"
        same = [one for one in self.living() if one.spec.log_dir == process.spec.log_dir]
        assert not same, f"{process.title} is started while {same[0].title} has its log open"
        self.processes[process.pid] = process
        self.note(f"start: {process.title}")

    def _signalled(self, pid: int) -> None:
        self.kill(self.processes[pid], "the supervisor kills")

    def _has_exited(self, pid: int) -> bool:
        return not self.processes[pid].lives

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.lives]

    def owner(self) -> Process | None:
        return next((process for process in self.living() if process.is_owner), None)

    def kill(self, process: Process, how: str = "kill") -> None:
        if process.lives:
            self.note(f"{how}: {process.title}")
            process.kill()

    def turn(self, process: Process) -> None:
        """Let it work, unless it is stopped."""
        if process.lives and process.stopped_ns is None:
            outcome = process.turn()
            if outcome:
                self.note(f"{process.title} {outcome}")
            self._look_at_watermark()

    def _look_at_watermark(self) -> None:
        try:
            page = ControlPage.open(self.tag, self.partition_id)
        except FileNotFoundError:
            return
        try:
            if page.state in (OwnerState.RUN, OwnerState.OFFLINE):
                watermark = page.high_watermark
                assert watermark >= self.watermark, f"the high watermark goes back from {self.watermark} to {watermark}"
                if watermark > self.watermark:
                    self.note(f"high watermark {watermark}")
                self.watermark = watermark
        finally:
            page.close()

    def note(self, line: str) -> None:
        self.trace.append(f"{self.kernel.now_ns // 1_000_000:>6} {line}")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()
