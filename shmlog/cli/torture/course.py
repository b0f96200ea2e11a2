"""The course of a torture: begin, do what the plan says, heal, demand progress, drain, and stop the cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import shmlog
from shmlog.cli.torture.cast import Cast
from shmlog.cli.torture.faults import KINDS
from shmlog.cli.torture.injection import HEIR_S, Injector
from shmlog.cli.torture.plan import Fault, Plan
from shmlog.cli.torture.progress import Progress
from shmlog.cli.torture.stage import Stage
from shmlog.errors import ShmlogError
from shmlog.model import TopicPartition

CONNECT_TIMEOUT_S = 1.0
LOOK_EVERY_S = 0.005
UP_AGAIN_S = 0.2


@dataclass(slots=True)
class Course:
    """One torture. `complaints` are sentences about what should not have happened, the cast's apart."""

    stage: Stage
    cast: Cast
    plan: Plan
    progress: Progress
    complaints: list[str] = field(default_factory=list)
    log_dirs: dict[TopicPartition, str] = field(default_factory=dict)
    replica_dirs: dict[TopicPartition, list[str]] = field(default_factory=dict)
    """Of all replicas, once all were in sync and the cluster was closed."""
    ends: dict[str, int] = field(default_factory=dict)
    """Where each partition's log ends, by its name."""
    seconds: float = 0.0
    interrupted: bool = False

    def run(self) -> Injector:
        """All of it; Ctrl-C ends the faults early, and what happened so far is judged."""
        injector = Injector(self.stage, self.cast)
        self.progress.say("starting")
        self.stage.begin()
        self.cast.begin()
        try:
            self._suffer(injector)
        except KeyboardInterrupt:
            self.interrupted = True
        self._recover(injector)
        return injector

    def _suffer(self, injector: Injector) -> None:
        began = time.monotonic()
        faults = list(self.plan.faults)
        while (now := time.monotonic() - began) < self.plan.seconds:
            while faults and faults[0].at_s <= now:
                fault = faults.pop(0)
                self.progress.fault(fault)
                if KINDS[fault.kind].victim == "logs":
                    self._lose_logs(fault, injector)
                else:
                    injector.inject(fault)
            self._tend(injector)
            self.seconds = now
            self.progress.look(now, injector.count("kill"), self.cast.acks())
            time.sleep(LOOK_EVERY_S)

    def _lose_logs(self, fault: Fault, injector: Injector) -> None:
        """Take one replica of every partition away, process and directory, once all are in sync, and wait for copies.

        A second fault at the same time may take what is acknowledged: whoever was in sync would have to survive both.
        """
        if not self._wait_until_steady(injector):
            return
        try:
            with shmlog.connect(self.stage.name, timeout=CONNECT_TIMEOUT_S) as cluster:
                topics = cluster.admin.describe_topics(list(self.stage.profile.topics))
        except (ShmlogError, OSError) as error:
            self.complaints.append(f"before logs were lost: {type(error).__name__}: {error}")
            return
        for topic in topics:
            for partition in topic.partitions:
                one = partition.replicas[fault.target % len(partition.replicas)]
                injector.lose_log(TopicPartition(topic.name, partition.partition), one)
        injector.done[fault.kind] += 1
        self._wait_until_steady(injector)

    def _wait_until_steady(self, injector: Injector) -> bool:
        """Heal everything and tend the cluster until all is well; False, with a complaint, if that takes too long."""
        injector.heal()
        patience_s = self.stage.profile.recovery_seconds
        deadline = time.monotonic() + patience_s
        while not self._is_steady(injector):
            self._tend(injector)
            if time.monotonic() > deadline:
                self.complaints.append(
                    f"the cluster does not recover within {patience_s:g} s after everything was healed:"
                    f" {self.stage.last_words() or 'clients do not get ready'}"
                )
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _tend(self, injector: Injector) -> None:
        """Undo what is due, start the daemon again when it is gone, and the clients."""
        injector.undo_due()
        self.cast.tend()
        pid = self.stage.supervisor_pid()
        if pid and not self.stage.is_coming_up() and pid not in injector.ending:
            injector.is_up()
        if self.stage.is_coming_up() or pid:
            if injector.heir_is_due and pid not in {None, *injector.ending}:
                injector.up_at, injector.heir_is_due = None, False
            return
        if injector.up_at is None:
            if not injector.supervisor_may_die:
                self.complaints.append(f"the supervisor is gone, and nobody killed it: {self.stage.last_words()}")
            injector.up_at = time.monotonic() + UP_AGAIN_S
        elif time.monotonic() >= injector.up_at:
            if injector.heir_is_due:
                self.complaints.append(f"no standby took over within {HEIR_S:g} s after the supervisor was killed")
            injector.up_at, injector.heir_is_due = None, False
            self.stage.begin_up()

    def _recover(self, injector: Injector) -> None:
        """Heal everything; then each producer must get records through, and each consumer read everything."""
        self.progress.say("healing")
        injector.supervisor_may_die = True  # `up` may just be failing over what is healed now
        if not self._wait_until_steady(injector):
            return
        patience_s = self.stage.profile.recovery_seconds
        self.progress.say("demanding progress")
        self.cast.conclude(self.cast.producers, patience_s + 10, seconds=patience_s)
        self._drain(patience_s)
        self.progress.say("stopping the cluster")
        if wrong := self.stage.down():
            self.complaints.append(wrong)
            self.replica_dirs.clear()

    def _is_steady(self, injector: Injector) -> bool:
        """Whether the cluster is up, and not just going down, all its partitions run, and all clients are attached."""
        if self.stage.is_coming_up() or self.stage.supervisor_pid() in {None, *injector.ending}:
            return False
        if not all(player.is_ready for player in self.cast.players()):
            return False
        try:
            with shmlog.connect(self.stage.name, timeout=CONNECT_TIMEOUT_S) as cluster:
                topics = cluster.admin.describe_topics(list(self.stage.profile.topics))
        except (ShmlogError, OSError):
            return False
        partitions = [partition for topic in topics for partition in topic.partitions]
        replicas = [one for partition in partitions for one in partition.replicas]
        return all(one.state == "running" for one in partitions) and all(one.in_sync for one in replicas)

    def _drain(self, patience_s: float) -> None:
        self.progress.say("reading to the end")
        try:
            with self.stage.connect() as cluster:
                for name in self.stage.profile.topics:
                    for partition in cluster.admin.describe_topic(name).partitions:
                        place = TopicPartition(name, partition.partition)
                        self.log_dirs[place] = partition.log_dir
                        self.replica_dirs[place] = [one.log_dir for one in partition.replicas]
                ends = {place: counts["log_end_offset"] for place, counts in cluster.metrics().items()}
        except (ShmlogError, OSError) as error:
            self.complaints.append(f"after everything was healed: {type(error).__name__}: {error}")
            return
        order = {str(number): ends[place] for number, place in enumerate(self.stage.partition_ids)}
        self.ends = {str(place): ends[place] for place in self.stage.partition_ids}
        self.cast.conclude(self.cast.consumers, patience_s + 10, ends=order, seconds=patience_s)
        self._drain_group(patience_s)

    def _drain_group(self, patience_s: float) -> None:
        """All members together have to get to the end of every partition; then all leave."""
        deadline = time.monotonic() + patience_s
        members = self.cast.members
        while members and (left := self._lacking()):
            self.cast.tend()
            if time.monotonic() > deadline:
                self.complaints.append(f"the group does not get to the end within {patience_s:g} s, it lacks {left}")
                break
            time.sleep(LOOK_EVERY_S)
        self.cast.conclude(members, patience_s, leave=True)

    def _lacking(self) -> dict[str, int]:
        """How many records of each partition no member has got to yet."""
        at = {place: offset for player in self.cast.members for place, offset in player.at.items()}
        return {place: end - at.get(place, 0) for place, end in self.ends.items() if at.get(place, 0) < end}
