"""The simulated partition with clients and faults: what happens next is drawn by lot, from one seed.

Supervisor, owners and followers are the real ones (Owners, Followers, Failover and their machines; OwnerAgent and
FollowerAgent), on a kernel of our own (kernel.py). A step is a turn of one of them, something that a client does, a
fault, or time that passes. `heal` ends all faults and demands that everything comes to rest; `check` looks at what
clients were told, and at the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from shmlog.errors import LeaderNotAvailableError
from shmlog.log.checkpoint import LEADER_EPOCHS
from shmlog.memory import region
from tests.simulation.clients import Consumer, Producer
from tests.simulation.cluster import Cluster
from tests.simulation.kernel import installed
from tests.simulation.processes import Process

CALLS_MAX = 40
FAULTS = ("kill owner", "kill owner", "kill", "stop", "stop", "continue", "elect", "refuse", "restart", "reboot",
          "lose log")  # fmt: skip
ROUNDS_MAX = 600
ROUND_NS = 50_000_000


class World(Cluster):
    """The cluster and its clients. `shown`: by offset, what any consumer was given there."""

    def __init__(self, seed: int, directory: Path, replicas: int, config: dict[str, str] | None = None) -> None:
        super().__init__(directory, replicas, config)
        self.random = Random(seed)
        self.consumers: list[Consumer] = []
        self.shown: dict[int, bytes] = {}
        self.lanes = 0
        self.losses = 0

    # --- clients ------------------------------------------------------------------------------------------------------

    def add_producer(self) -> Producer:
        self.lanes += 1
        producer = Producer(self.kernel, self.tag, self.partition_id, self.lanes)
        self.producers.append(producer)
        self._attach(producer)
        self.note(f"producer {producer.number} comes")
        return producer

    def add_consumer(self, position: int) -> None:
        self.consumers.append(Consumer(self.kernel, self.tag, self.partition_id, self.leader_directory, position))

    def send(self, producer: Producer, count: int, size: int = 200) -> None:
        accepted = producer.send(count, size)
        if accepted:
            self.note(f"producer {producer.number} sends {accepted} to {len(producer.sent)}")

    def hear(self, producer: Producer) -> None:
        count = producer.hear()
        if count:
            assert max(producer.acknowledged.values()) < self.watermark, "acknowledged beyond the high watermark"
            self.note(f"producer {producer.number} hears of {count}")

    def poll(self, consumer: Consumer, max_bytes: int = 2000) -> None:
        first = consumer.position
        outcome = consumer.poll(max_bytes)
        for offset in range(first, consumer.position):
            value = consumer.seen[offset - consumer.first]
            before = self.shown.setdefault(offset, value)
            assert before == value, f"offset {offset} was {before!r} and is {value!r}"
        if outcome != "0":
            self.note(f"consumer at {first}: {outcome}")

    # --- steps --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Whatever the lot says."""
        self.kernel.now_ns += 1_000_000
        lot = self.random.random()
        if lot < 0.22:
            self.turn_supervisor()
        elif lot < 0.60:
            living = self.living()
            if living:
                process = self.random.choice(living)
                if self.random.random() < 0.02:
                    self.kernel.calls_left = self.random.randrange(CALLS_MAX)
                self.turn(process)
                self.kernel.calls_left = None
        elif lot < 0.74:
            self._some_producer_sends()
        elif lot < 0.82:
            for producer in self.producers:
                self.hear(producer)
        elif lot < 0.90:
            self.poll(self.random.choice(self.consumers))
        elif lot < 0.96:
            self.kernel.now_ns += self.random.randrange(200_000_000)
        else:
            self.fault()

    def _some_producer_sends(self) -> None:
        able = [one for one in self.producers if not one.is_spoiled]
        if len(able) < 2:
            able.append(self.add_producer())
        self.send(self.random.choice(able), self.random.randrange(1, 5))

    def fault(self) -> None:
        """Something goes wrong, or somebody asks for another leader."""
        living = self.living()
        match self.random.choice(FAULTS):
            case "kill owner" if (owner := self.owner()) is not None:
                self.kill(owner)
            case "kill" if living:
                self.kill(self.random.choice(living))
            case "stop" if living:
                self.stop(self.random.choice(living))
            case "continue":
                self.let_go_on()
            case "elect":
                self.elect(self.random.randrange(self.replicas))
            case "refuse":
                self.refuse(self.random.randrange(self.replicas))
            case "restart":
                self.restart()
            case "reboot":
                self.reboot()
            case "lose log":
                self.lose_log(self.random.randrange(self.replicas), kill=self.random.random() < 0.7)

    def stop(self, process: Process) -> None:
        if process.stopped_ns is None:
            process.stopped_ns = self.kernel.now_ns
            self.note(f"stop: {process.title}")

    def refuse(self, replica_id: int) -> None:
        """The disk under one replica's log fails, or the one that failed works again."""
        self.kernel.refused = "" if self.kernel.refused else str(self.log_directory(replica_id))
        self.note(f"the disk of replica {replica_id} fails" if self.kernel.refused else "the disk works again")

    def restart(self) -> None:
        """Everything of the daemon is killed, and another one started. Shared memory and clients stay."""
        self.note("restart")
        self.stop_supervisor()
        self.start_supervisor()

    def reboot(self) -> None:
        """Processes, shared memory and clients are gone; files are there."""
        self.note("reboot")
        self.stop_supervisor()
        region.sweep(self.tag)
        for producer in self.producers:
            producer.is_spoiled = producer.is_gone = True
        positions = [consumer.position for consumer in self.consumers]
        for consumer in self.consumers:
            consumer.close()
        self.consumers.clear()
        self.watermark = 0  # known again when the replicas in sync have said what they have
        self.start_supervisor()
        for position in positions:
            self.add_consumer(position)

    def lose_leaders_log(self) -> None:
        """Its owner is dead, and its directory somewhere else."""
        self.lose_log(self.partition.leader, kill=True)

    def lose_log(self, replica_id: int, *, kill: bool) -> None:
        """A replica's directory is somewhere else; its process dies, or finds out itself.

        Nothing happens if no other replica has all that was acknowledged: one that is in sync, and has not lost its log
        since it was so.
        """
        log = self.log_directory(replica_id)
        if not self.partition.in_sync - self.logless.keys() - {replica_id} or not log.exists():
            return
        self.note(f"the log of replica {replica_id} is lost")
        for process in self.living():
            if kill and process.spec.replica_id == replica_id:
                self.kill(process)
        self.losses += 1
        log.rename(self.directory / f"lost{self.losses}.r{replica_id}")
        self.logless[replica_id] = replica_id in self.partition.in_sync

    def bring_logs_back(self) -> None:
        """Of replicas that still count as in sync: they may be all that is left, when the others fell behind before it
        was noticed."""
        for replica_id in [one for one, counts in self.logless.items() if counts]:
            log = self.log_directory(replica_id)
            if not log.exists():
                self.note(f"the log of replica {replica_id} is back")
                lost = max(self.directory.glob(f"lost*.r{replica_id}"), key=lambda path: int(path.stem[4:]))
                lost.rename(log)
            del self.logless[replica_id]

    def let_go_on(self) -> None:
        for process in self.living():
            if process.stopped_ns is not None:
                process.stopped_ns = None
                self.note(f"continue: {process.title}")

    def elect(self, replica_id: int) -> None:
        try:
            self.failover.elect(self.partition, replica_id)
        except LeaderNotAvailableError as error:
            self.note(f"elect {replica_id}: {error}")
        else:
            self.note(f"elect {replica_id}: begun")

    # --- the end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults: everything must come to rest, and take another record of a new producer."""
        self.note("heal")
        self.let_go_on()
        self.kernel.refused = ""
        self.bring_logs_back()
        self.settle("after the faults")
        last = self.add_producer()
        self.settle("before the last record", lambda: last.is_attached)
        self.send(last, 1)
        self.settle("after the last record")
        assert len(last.acknowledged) == 1, "the last record is not acknowledged"

    def settle(self, when: str, also: Callable[[], bool] = lambda: True) -> None:
        for _ in range(ROUNDS_MAX):
            self.round()
            if self.is_quiet() and also():
                return
        raise AssertionError(f"no rest {when}: {self.why_not_quiet()}")

    def round(self) -> None:
        """A turn for everybody."""
        self.kernel.now_ns += ROUND_NS
        self.turn_supervisor()
        for process in self.living():
            self.turn(process)
        for producer in self.producers:
            self.hear(producer)
        for consumer in self.consumers:
            self.poll(consumer)

    def is_quiet(self) -> bool:
        return self.why_not_quiet() == ""

    def why_not_quiet(self) -> str:
        partition = self.partition
        owner = self.owners.running(partition.partition_id)
        if owner is None:
            return f"no owner runs ({self.owners.machine.phase(partition.partition_id).value})"
        if partition.in_sync != set(partition.replicas):
            return f"in sync are {sorted(partition.in_sync)}"
        waiting = [one.number for one in self.producers if one.waits]
        if waiting:
            return f"producers {waiting} wait"
        behind = [one.position for one in self.consumers if one.position < self.watermark]
        return f"consumers are at {behind}" if behind else ""

    def check(self) -> None:
        """What was promised to clients, and what replicas are."""
        self.add_consumer(0)
        reader = self.consumers[-1]
        while reader.position < self.watermark:
            self.poll(reader, 1 << 20)
        for consumer in self.consumers:
            assert consumer.position == self.watermark
        log = reader.seen
        assert len(set(log)) == len(log), f"twice: {sorted(value for value in set(log) if log.count(value) > 1)}"
        for producer in self.producers:
            for value, offset in producer.acknowledged.items():
                found = log[offset] if offset < len(log) else None
                assert found == value, f"{value!r} was acknowledged at {offset}, where {found!r} is"
            mine = [value for value in log if value.startswith(b"%d:" % producer.number)]
            numbers = [int(value.split(b":")[1].rstrip(b";")) for value in mine]
            assert numbers == sorted(numbers), f"producer {producer.number}: {numbers}"
        partition = self.partition
        leader = self.log_directory(partition.leader)
        for replica_id in sorted(partition.in_sync - {partition.leader}):
            same = _batches(leader) == _batches(self.log_directory(replica_id))
            assert same, f"replica {replica_id} is in sync and has another log than its leader"

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()
        self.stop_supervisor()


@contextmanager
def open_world(seed: int, directory: Path, replicas: int, config: dict[str, str] | None = None) -> Iterator[World]:
    """A world whose supervisor has just started."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    world = World(seed, directory, replicas, config)
    try:
        with installed(world.kernel):
            world.start_supervisor()
            world.add_consumer(0)
            try:
                yield world
            finally:
                world.close()
    finally:
        region.sweep(world.tag)
        shutil.rmtree(directory, ignore_errors=True)


def _batches(log: Path) -> tuple[bytes, bytes]:
    """What replicas in sync have in common: all batches, and where epochs begin.

    Where segments begin may differ behind a takeover: a copy that took more than two segments out of the ring is not
    told where the older ones began.
    """
    segments = sorted(path for path in log.iterdir() if path.suffix == ".log")
    return b"".join(path.read_bytes() for path in segments), (log / LEADER_EPOCHS).read_bytes()
