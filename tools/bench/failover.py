"""Failover: owners are killed with SIGKILL under a steady load; how long each pause is, and whether anything is lost.

Nobody in this benchmark is trusted: the sender's intents and acknowledgements, the reader's records, and what
kafka-python finds in the segment files afterwards are three independent accounts, and the checker compares them.
"""

from __future__ import annotations

import os
import random
import signal
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import orjson

import shmlog
from shmlog.cli.counters import Observer, PartitionSample
from shmlog.client.results import ReplicaInfo
from shmlog.errors import ShmlogError
from shmlog.testing import History, Verdict, check_history, wait_until
from shmlog.testing.pacing import percentile
from shmlog.testing.segments import kafka_python_decoder, read_partition
from shmlog.testing.worker_process import WorkerProcess

from .arena import cluster_in, say
from .failover_worker import BURSTS_PER_SECOND, LEAD_NS, MODULE, Sent, sequence_and_start
from .figures import Figures

TOPIC = "failover"
READY_TIMEOUT_S = 60.0
TAKEOVER_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 300.0
WARM_UP_S = 0.5
SENDER, READER, DECODER = 0, 0, 1


class FailoverError(ShmlogError):
    """The benchmark could not do what it is for."""

    name = "FAILOVER"


@dataclass(frozen=True, slots=True)
class FailoverPlan:
    """`per_second` records over all partitions; a kill every `interval_s` on average, at random moments.

    With followers each kill is of a leader whose followers are all in sync. `remove_directory` moves that leader's log
    away right before, so that one of them has to take over.
    """

    kills: int
    per_second: int
    size_bytes: int
    partitions: int
    interval_s: float
    acks: str
    seed: int
    replication_factor: int = 1
    remove_directory: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: of which partition, and when on the monotonic clock."""

    partition: int
    at_ns: int


def require_decoder() -> None:
    """Fail before the work and not after it when kafka-python is missing."""
    list(kafka_python_decoder(b""))


def measure(plan: FailoverPlan, directory: Path, figures: Figures) -> Verdict:
    """Kill, collect the accounts, fill in the figures; the verdict names what was broken."""
    require_decoder()
    history = History()
    config = {"max.message.bytes": 262_144}
    with cluster_in(directory, TOPIC, plan.partitions, plan.replication_factor, **config) as cluster:
        kills, sent, arrivals = _run(plan, cluster, directory)
        described = cluster.admin.describe_topic(TOPIC).partitions
        log_dirs = [partition.log_dir for partition in described]
    say(f"{len(kills)} kills, {sent.attempts:,} records sent, {sent.acks:,} acknowledged; decoding the segments")
    _collect(history, sent, arrivals)
    for partition, log_dir in enumerate(log_dirs):
        offsets, ids = array("q"), array("q")
        for record in read_partition(log_dir):
            offsets.append(record.offset)
            ids.append(sequence_and_start(record.value or b"")[0])
        history.read_columns(DECODER, partition, offsets, ids)
    verdict = check_history(history)
    pauses = sorted(_pauses_ms(kills, arrivals))
    figures.replication_factor = len(described[0].replicas)
    figures.kills, figures.attempts, figures.acks = len(kills), sent.attempts, sent.acks
    figures.records_per_second = sent.attempts / sent.seconds
    figures.lost, figures.duplicated = verdict.lost, verdict.duplicated
    figures.pause_ms_p50, figures.pause_ms_p99 = percentile(pauses, 0.5), percentile(pauses, 0.99)
    if len(kills) < plan.kills or not kills:
        raise FailoverError(f"only {len(kills)} of {plan.kills} kills were made, so this run proves nothing")
    return verdict


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What the reader got of one partition, in order: offsets, sequences, intended starts, and when it came (ns)."""

    offsets: array[int]
    sequences: array[int]
    intended_ns: array[int]
    received_ns: array[int]

    @classmethod
    def load(cls, file: Path) -> Arrivals:
        """Four columns as failover_worker wrote them."""
        everything = array("q")
        everything.frombytes(file.read_bytes())
        count = len(everything) // 4
        return cls(*(everything[at * count : (at + 1) * count] for at in range(4)))


def _run(plan: FailoverPlan, cluster: shmlog.Cluster, directory: Path) -> tuple[list[Kill], Sent, list[Arrivals]]:
    common = {
        "cluster": cluster.name,
        "topic": TOPIC,
        "partitions": plan.partitions,
        "per_second": plan.per_second,
        "size_bytes": plan.size_bytes,
        "acks": plan.acks,
        "directory": str(directory),
    }
    with (
        WorkerProcess(MODULE, orjson.dumps({**common, "role": "read"}).decode(), label="reader") as reader,
        WorkerProcess(MODULE, orjson.dumps({**common, "role": "send"}).decode(), label="sender") as sender,
    ):
        reader.receive(READY_TIMEOUT_S)
        sender.receive(READY_TIMEOUT_S)
        sender.send(first_ns=time.monotonic_ns() + LEAD_NS)
        kills = _kill_owners(plan, cluster, directory, sender, reader)
        sender.send(stop=True)
        sent = Sent.load(directory, sender.receive(FINISH_TIMEOUT_S))
        ends = {str(place.partition): counts["log_end_offset"] for place, counts in cluster.metrics().items()}
        reader.send(ends=ends)
        files = reader.receive(FINISH_TIMEOUT_S)["files"]
    return kills, sent, [Arrivals.load(Path(file)) for file in files]


def _kill_owners(plan: FailoverPlan, cluster: shmlog.Cluster, directory: Path, *workers: WorkerProcess) -> list[Kill]:
    chance = random.Random(plan.seed)
    observer = Observer()
    observer.refresh(cluster.describe(), cluster.admin.describe_topics([TOPIC]))
    kills: list[Kill] = []
    try:
        time.sleep(WARM_UP_S)
        for number in range(plan.kills):
            partition = (number + chance.randrange(plan.partitions)) % plan.partitions
            if plan.replication_factor > 1:
                _await_followers(cluster, partition)
            victim, leader = _running(observer, partition), _leader(cluster, partition)
            if plan.remove_directory:
                os.rename(leader.log_dir, directory / f"removed-{number}")
            kills.append(Kill(victim.partition, time.monotonic_ns()))
            os.kill(victim.pid, signal.SIGKILL)
            _await_successor(observer, victim)
            if plan.remove_directory and _leader(cluster, partition).replica_id == leader.replica_id:
                raise FailoverError(f"replica {leader.replica_id} leads {victim.name} again, without its log")
            time.sleep(plan.interval_s * chance.uniform(0.5, 1.5))
            if number % 10 == 9:
                say(f"{number + 1} kills")
            for worker in workers:
                worker.poll()  # raises what went wrong there
    finally:
        observer.close()
    return kills


def _running(observer: Observer, partition: int) -> PartitionSample:
    sample = observer.sample(TOPIC, partition)
    if sample.state != "run" or sample.pid <= 0:
        raise FailoverError(f"{sample.name} does not run, it is {sample.state}: {sample.error}")
    return sample


def _leader(cluster: shmlog.Cluster, partition: int) -> ReplicaInfo:
    (leader,) = [one for one in cluster.admin.describe_topic(TOPIC).partitions[partition].replicas if one.leads]
    return leader


def _await_followers(cluster: shmlog.Cluster, partition: int) -> None:
    def follow() -> bool:
        replicas = cluster.admin.describe_topic(TOPIC).partitions[partition].replicas
        return all(one.in_sync and (one.leads or one.state == "following") for one in replicas)

    wait_until(follow, timeout_s=TAKEOVER_TIMEOUT_S, what=f"followers of {TOPIC}-{partition} that are in sync")


def _await_successor(observer: Observer, victim: PartitionSample) -> None:
    def took_over() -> bool:
        now = observer.sample(victim.topic, victim.partition)
        return now.leader_epoch > victim.leader_epoch and now.state == "run"

    wait_until(took_over, timeout_s=TAKEOVER_TIMEOUT_S, what=f"a successor of pid {victim.pid}, owner of {victim.name}")


def _collect(history: History, sent: Sent, arrivals: list[Arrivals]) -> None:
    history.intend_range(SENDER, range(sent.attempts))
    for sequence, partition, offset in zip(sent.sequences, sent.partitions, sent.offsets, strict=True):
        history.acknowledge(SENDER, sequence, partition, offset)
    for partition, arrived in enumerate(arrivals):
        history.read_columns(READER, partition, arrived.offsets, arrived.sequences)


def _pauses_ms(kills: list[Kill], arrivals: list[Arrivals]) -> list[float]:
    """For each kill: until the reader had the first record of that partition whose send was due after the kill."""
    import numpy as np

    pauses = []
    burst_ns = int(1e9 / BURSTS_PER_SECOND)
    for kill in kills:
        arrived = arrivals[kill.partition]
        intended = np.array(arrived.intended_ns, dtype=np.int64)
        at = int(np.searchsorted(intended, kill.at_ns))  # one sender: start times rise with the offsets
        if at < len(intended):
            due_ns = min(int(intended[at]), kill.at_ns + burst_ns)
            pauses.append((arrived.received_ns[at] - due_ns) / 1e6)
    return pauses
