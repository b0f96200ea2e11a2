"""The demo's main part: from the file through producers, partitions and consumers, to an account of what arrived."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from shmlog.cli.counters import Observer
from shmlog.cli.demo import delays
from shmlog.cli.demo.consumer_kill import ConsumerKill, kill_and_replace
from shmlog.cli.demo.consuming import GROUP
from shmlog.cli.demo.journal import Journal, put_together
from shmlog.cli.demo.owner_kill import OwnerKill, kill_owner
from shmlog.cli.demo.source import Source
from shmlog.cli.demo.tally import Tally
from shmlog.testing.worker_process import Message, WorkerProcess

if TYPE_CHECKING:
    from shmlog import Cluster

PREPARE_TIMEOUT_S = 3600.0  # a large file of the user's takes as long as it takes
READY_TIMEOUT_S = 60.0
FINISH_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.05
STALL_TIMEOUT_S = 30.0
"""When everything was produced, and the group commits nothing for so long, the rest counts as missing."""
CONSUMER_KILL_SHARE = 0.3  # of all records in the log
REPORT_SHARE, SLOW_SHARE, STOP_SHARE = 0.42, 0.58, 0.66  # of each producer's records; see producing.Gate


@dataclass(frozen=True, slots=True)
class Plan:
    """Who takes part. Consumers write their journals into `scratch`, which belongs to the caller. One of them is killed
    while records flow, and another one joins."""

    source: Source
    scratch: Path
    topic: str
    partitions: int = 6
    producers: int = 2
    consumers: int = 3
    kills_owner: bool = False


@dataclass(slots=True)
class Arrival:
    """What came out: `seconds` from the start signal to the last record that a consumer processed."""

    produced: int = 0
    consumed: int = 0
    seconds: float = 0.0
    gaps: list[str] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    end_offsets: dict[int, int] = field(default_factory=dict)
    accounts: list[Tally] = field(default_factory=list)
    table: delays.DelayTable = field(default_factory=dict)
    kill: OwnerKill | None = None
    consumer_kill: ConsumerKill | None = None


class Replay:
    """Starts the workers, lets them go, and collects what they say. To be used as a context: it ends the workers."""

    def __init__(self, plan: Plan, on_look: Callable[[Observer], None]) -> None:
        self.plan = plan
        self.on_look = on_look
        self.observer = Observer()
        self.arrival = Arrival()
        self.producers: list[WorkerProcess] = []
        self.consumers: list[WorkerProcess] = []
        self._newcomer: WorkerProcess | None = None
        self._killed: list[WorkerProcess] = []
        self._cluster: Cluster | None = None
        self._kill_consumer_at = 0
        self._reached: set[str] = set()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.observer.close()
        newcomers = [] if self._newcomer is None else [self._newcomer]
        for worker in (*self.producers, *self.consumers, *self._killed, *newcomers):
            worker.stop()

    def start_producers(self, cluster_name: str) -> None:
        """Begin to read the input; needs no cluster yet."""
        for number in range(self.plan.producers):
            order = {
                "cluster": cluster_name,
                "topic": self.plan.topic,
                "file": self.plan.source.file,
                "key_field": self.plan.source.key_field,
                "number": number,
                "producers": self.plan.producers,
                "acks": "all",
            }
            label = f"producer {number}"
            self.producers.append(WorkerProcess("shmlog.cli.demo.producing", orjson.dumps(order).decode(), label=label))

    def start_consumers(self, cluster_name: str) -> None:
        """A group, and one more that joins it later."""
        for number in range(self.plan.consumers + 1):
            order = {
                "cluster": cluster_name,
                "topic": self.plan.topic,
                "with_table": self.plan.source.is_flights,
                "journals": str(self.plan.scratch),
                "joins_later": number == self.plan.consumers,
            }
            label = f"consumer {number}"
            worker = WorkerProcess("shmlog.cli.demo.consuming", orjson.dumps(order).decode(), label=label)
            if order["joins_later"]:
                self._newcomer = worker
            else:
                self.consumers.append(worker)

    def make_ready(self, cluster: Cluster) -> None:
        """Wait until the producers have read ahead and everybody is attached."""
        for producer in self.producers:
            producer.receive(PREPARE_TIMEOUT_S)
        assert self._newcomer is not None
        consumers = [*self.consumers, self._newcomer]
        for worker in (*self.producers, *consumers):
            worker.send(attach=True)
        for worker in (*consumers, *self.producers):
            worker.receive(READY_TIMEOUT_S)
        self._cluster = cluster
        self.observer.refresh(cluster.describe(), cluster.admin.describe_topics([self.plan.topic]))

    def run(self, shares: list[int]) -> Arrival:
        """Give the start signal, watch until everybody is done. `shares`: records of each producer, for the kill."""
        started_ns = time.monotonic_ns()
        self._kill_consumer_at = int(sum(shares) * CONSUMER_KILL_SHARE)
        for producer, share in zip(self.producers, shares, strict=True):
            producer.send(**self._orders(share))
        self.arrival.produced = sum(message["sent"] for message in self._collect(self.producers, "sent"))
        self.arrival.end_offsets = {s.partition: s.log_end_offset for s in self.observer.samples()}
        self._kill_consumer()
        self._await_group()
        for consumer in self.consumers:
            consumer.send(finish=True)
        self._account_for(self._collect(self.consumers, "read"), started_ns)
        return self.arrival

    def _orders(self, share: int) -> Message:
        if not self.plan.kills_owner:
            return {}
        return {
            "chunk_records": max(1, min(500, share // 50)),
            "report_at": int(share * REPORT_SHARE),
            "slow_at": int(share * SLOW_SHARE),
            "stop_at": int(share * STOP_SHARE),
        }

    def _collect(self, workers: list[WorkerProcess], word: str) -> list[Message]:
        """Wait until each of `workers` has said `word`; meanwhile look, and kill when it is time."""
        said: dict[str, Message] = {}
        next_look = 0.0
        last_progress, last_state = time.monotonic(), self._state()
        while len(said) < len(workers):
            waiting = [worker for worker in workers if worker.label not in said]
            others = [consumer for consumer in self.consumers if consumer not in workers]
            select.select([*waiting, *others], [], [], LOOK_EVERY_S)
            for worker in waiting:
                if (message := worker.poll()) is None:
                    continue
                if word in message:
                    said[worker.label] = message
                else:
                    self._reached.add(worker.label)
            if self.plan.kills_owner and self.arrival.kill is None and len(self._reached) == len(self.producers):
                self._kill()
            if sum(sample.log_end_offset for sample in self.observer.samples()) >= self._kill_consumer_at:
                self._kill_consumer()
            for other in others:
                if other in self.consumers:
                    other.poll()  # has nothing to say before its end but what went wrong
            now = time.monotonic()
            if now >= next_look:
                self.on_look(self.observer)
                next_look = now + LOOK_EVERY_S
            if (state := self._state()) != last_state:
                last_progress, last_state = now, state
            elif now - last_progress > FINISH_TIMEOUT_S:
                silent = ", ".join(worker.label for worker in waiting)
                raise TimeoutError(f"nothing happened for {FINISH_TIMEOUT_S:g} s; still busy: {silent}")
        return [said[worker.label] for worker in workers]

    def _kill_consumer(self) -> None:
        """Once; another one joins."""
        if self._newcomer is not None:
            victim, self.arrival.consumer_kill = kill_and_replace(self.consumers, self._newcomer)
            self._killed.append(victim)
            self._newcomer = None

    def _await_group(self) -> None:
        """Until the group has committed everything, or commits nothing any more."""
        assert self._cluster is not None
        last_progress, last = time.monotonic(), dict[int, int]()
        while last != {key: end for key, end in self.arrival.end_offsets.items() if end}:
            if time.monotonic() - last_progress > STALL_TIMEOUT_S:
                return
            select.select(self.consumers, [], [], LOOK_EVERY_S)
            for consumer in self.consumers:
                consumer.poll()
            self.on_look(self.observer)
            found = self._cluster.admin.list_consumer_group_offsets(GROUP)
            committed = {place.partition: known.offset for place, known in found.items() if known.offset}
            if committed != last:
                last_progress, last = time.monotonic(), committed

    def _state(self) -> list[int]:
        """Numbers that change as long as anything moves."""
        written = [sample.log_end_offset for sample in self.observer.samples()]
        return written + [position.next_offset for position in self.observer.positions()]

    def _kill(self) -> None:
        self.arrival.kill = kill_owner(self.observer)
        for producer in self.producers:
            producer.send(go_on=True)

    def _account_for(self, reports: list[Message], started_ns: int) -> None:
        arrival = self.arrival
        arrival.seconds = (max([started_ns, *(report["ended_ns"] for report in reports)]) - started_ns) / 1e9
        arrival.gaps += [gap for report in reports for gap in report["gaps"]]
        tables = []
        for partition in range(self.plan.partitions):
            pieces = Journal.of(self.plan.scratch, partition).read()
            account, gaps = put_together(pieces)
            arrival.gaps += [f"partition {partition}: {gap}" for gap in gaps]
            arrival.next_offsets[partition] = pieces[-1].end if pieces else 0
            arrival.accounts.append(account)
            tables += [piece.table for piece in pieces]
        arrival.consumed = sum(len(account.hashes) for account in arrival.accounts)
        arrival.table = delays.merge(tables)
