"""Consumers, their coordinator and its log on one thread: one seed is one life.

Checked after every step: whoever is a member reads only what the coordinator has noted as its own; of two that read one
partition, only one is heard; nothing is read that begins behind what was delivered; no commit is beyond what was
delivered, or goes back; what somebody was told is committed stays so, whatever a failover loses.
"""

from __future__ import annotations

import random

from shmlog.machines.group.records import GroupRecord, OffsetCommitted, TopicIdPartition
from tests.group_trace import text, topic_id
from tests.simulation.groups_coordinator import GROUP, Coordinator
from tests.simulation.groups_member import Member, Offsets

NAMES = {topic_id(name): name for name in ("t", "u")}
SUBSCRIPTIONS: tuple[tuple[tuple[str, ...], str | None], ...] = ((("t",), None), (("t", "u"), None), ((), "[tu]"))
ASSIGNORS = ("range", "roundrobin", "sticky", "custom:own")
MEMBERS_MAX = 5
ROUNDS_MAX = 300
NEVER_MS = 10**12


class GroupWorld:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 1_000
        self.assignor = ASSIGNORS[seed % len(ASSIGNORS)]
        self.topics = {"t": 3}
        self.ends: Offsets = {TopicIdPartition(topic_id("t"), number): 0 for number in range(3)}
        self.delivered: Offsets = dict.fromkeys(self.ends, 0)
        self.promised: Offsets = {}
        self.given_up: dict[TopicIdPartition, tuple[str, int]] = {}
        self.log: list[tuple[GroupRecord, ...]] = []
        self.durable = 0
        self.cells: dict[str, Offsets] = {}
        self.polled_ms: dict[str, int] = {}
        self.members: list[Member] = []
        self.trace: list[str] = []
        self._numbers = 0
        self._names = 0
        self.coordinator: Coordinator | None = None
        self._start_coordinator()

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now_ms:6} {what}")

    # --- what actors ask of the world ---------------------------------------------------------------------------------

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def name(self, partition: TopicIdPartition) -> str:
        return NAMES[partition.topic_id]

    def has_process(self, member_id: str) -> bool:
        return any(member.is_alive and member.name == member_id.partition(".")[0] for member in self.members)

    def deliver(self, member: Member, partition: TopicIdPartition, position: int, upto: int) -> None:
        self.note(f"{member.member_id} reads {text(frozenset([partition]))} from {position} to {upto}")
        skipped = self.delivered[partition]
        assert position <= skipped, f"{partition} was read up to {skipped}, and goes on at {position}"
        self.delivered[partition] = max(skipped, upto)

    def promise(self, offsets: Offsets) -> None:
        """Somebody is told that these are committed."""
        for partition, offset in offsets.items():
            self.promised[partition] = max(offset, self.promised.get(partition, 0))

    def check_beginning(self, member: Member, offsets: Offsets) -> None:
        """Who takes up what another member has given up, and not lost, begins where that one said."""
        known = self._known()
        if member.member_id not in known:
            return
        for partition, offset in offsets.items():
            member_id, final = self.given_up.get(partition, ("", 0))
            is_lost = member_id not in known or not self.has_process(member_id)
            assert offset >= final or is_lost, f"{member_id} gave up {partition} at {final}, not {offset}"

    def check_commit(self, before: OffsetCommitted | None, record: OffsetCommitted) -> None:
        self.note(f"commit {record.topic}-{record.partition} {record.offset}")
        partition = TopicIdPartition(record.topic_id, record.partition)
        assert record.offset <= self.delivered[partition], "a commit is beyond what was delivered"
        assert before is None or before.offset <= record.offset, f"a commit goes back from {before}"

    # --- steps --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Somebody does something."""
        dice = self.random.random()
        if dice < 0.55:
            member = self.random.choice(self.members) if self.members else None
            if member is not None and member.is_alive and not member.is_stopped:
                member.step()
        elif dice < 0.90:
            self._coordinate()
        elif dice < 0.95:
            self._grow_logs()
        else:
            self._disturb()
        self.now_ms += self.random.randrange(0, 24)
        self.check()

    def _coordinate(self) -> None:
        one = self.coordinator
        if one is None:
            self._start_coordinator()
            return
        match self.random.randrange(8):
            case 0:
                one.look_at_cells()
            case 1 if one.topics != self.topics or one.topics is None:
                one.learn_topics()
            case 1:
                one.look_for_absent()
            case 2:
                one.tick()
            case 3:
                self.durable = self.random.randint(self.durable, len(self.log))
                one.release()
            case _ if one.sessions:
                one.look(self.random.choice(one.sessions))

    def _grow_logs(self) -> None:
        for partition in self.ends:
            self.ends[partition] += self.random.randrange(3)

    def _disturb(self) -> None:
        alive = [member for member in self.members if member.is_alive]
        match self.random.randrange(12):
            case 0 | 1 | 2 if len(alive) < MEMBERS_MAX:
                self._add_member()
            case 3 | 4 if alive:
                self._kill(self.random.choice(alive))
            case 5 if alive:
                member = self.random.choice(alive)
                self.note(f"{member.member_id} leaves")
                member.leave()
            case 6 | 7 if alive:
                member = self.random.choice(alive)
                member.stopped_until_ms = self.now_ms + self.random.choice((100, 600, 2_500))
                self.note(f"{member.member_id} stops until {member.stopped_until_ms}")
            case 8 | 9 if self.coordinator is not None:
                self.fail_over()
            case 10:
                self._grow_topics()
            case 11 if alive:
                member = self.random.choice(alive)
                member.subscribe(self.random.choice((("t",), ("t", "u"))))

    def _add_member(self) -> None:
        self._names += 1
        instance = self.random.choice((None, None, None, "i", "j"))
        topics, pattern = self.random.choice(SUBSCRIPTIONS)
        member = Member(self, f"m{self._names}", instance, topics, pattern)
        self.members.append(member)
        self.note(f"{member.member_id} comes as {instance}")

    def _kill(self, member: Member) -> None:
        self.note(f"{member.member_id} is killed")
        member.die()

    def _grow_topics(self) -> None:
        name = self.random.choice("tu")
        count = self.topics.get(name, 0)
        if count < 5:
            self.topics[name] = count + 1
            partition = TopicIdPartition(topic_id(name), count)
            self.ends[partition] = self.delivered[partition] = 0
            self.note(f"{name} has {count + 1} partitions")

    def fail_over(self) -> None:
        """The coordinator dies, and with it what was not durable: all of it, some of it, or nothing."""
        one, self.coordinator = self.coordinator, None
        assert one is not None
        for session in one.sessions:
            session.line.is_open = False
        self.durable = self.random.randint(self.durable, len(self.log))
        self.note(f"the coordinator dies, and {len(self.log) - self.durable} steps with it")
        del self.log[self.durable :]
        if self.random.random() < 0.2:
            self._grow_topics()

    def _start_coordinator(self) -> None:
        self.coordinator = Coordinator(self)
        self.note(f"a coordinator starts after {len(self.log)} steps")

    # --- rules --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        one = self.coordinator
        if one is None:
            return
        known = self._known()
        self._check_readers(one)
        for member in self.members:
            if member.member_id not in known or not member.is_alive:
                continue
            may = one.machine.may_commit(GROUP, member.member_id)
            for partition in member.reading:
                assert partition in may, f"{member.member_id} reads {partition}, which was taken from it"
        for partition, offset in self.promised.items():
            found = one.machine.offset(GROUP, self.name(partition), partition.partition)
            assert found is not None, f"the commit of {partition} is gone"
            assert found.offset >= offset, f"{partition} was committed up to {offset}, and is {found.offset} now"

    def _known(self) -> set[str]:
        """The ids of all members, as the coordinator knows them; nobody without one."""
        return set() if self.coordinator is None else {said.member_id for said in self.coordinator.machine.members()}

    def _check_readers(self, one: Coordinator) -> None:
        """Of several that read one partition, one is a member: what the others commit is refused."""
        readers: dict[TopicIdPartition, list[Member]] = {}
        for member in self.members:
            for partition in member.reading:
                readers.setdefault(partition, []).append(member)
        for partition, several in readers.items():
            if len(several) > 1 and one.topics is not None and self.name(partition) in one.topics:
                accepted = [each.member_id for each in several if one.accepts(each.member_id, partition)]
                assert len(accepted) < 2, f"{accepted} read {partition}"

    # --- peace --------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults: everything comes to rest, with one reader for each partition, and everything read. First
        without those who are stopped, which stay so; then they go on."""
        for until_ms in (NEVER_MS, 0):
            for member in self.members:
                member.stopped_until_ms = until_ms if member.is_stopped else 0
            self.note(f"peace, with {sum(member.is_stopped for member in self.members)} who are stopped")
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        for _ in range(ROUNDS_MAX):
            if not self._able():
                self._add_member()
            self._round()
            if self._unrest() == "":
                return
        raise AssertionError(f"no rest: {self._unrest()}")

    def _round(self) -> None:
        if self.coordinator is None:
            self._start_coordinator()
        one = self.coordinator
        assert one is not None
        if one.topics != self.topics:
            one.learn_topics()
        for member in self.members:
            for _ in range(8):
                if member.is_alive and not member.is_stopped:
                    member.step()
                    self.check()
        for session in list(one.sessions):
            while session in one.sessions and session.line.said:
                one.look(session)
                self.check()
        one.look_at_cells()
        one.look_for_absent()
        one.tick()
        self.durable = len(self.log)
        one.release()
        self.check()
        self.now_ms += 300

    def _able(self) -> list[Member]:
        return [member for member in self.members if member.is_alive and not member.is_stopped]

    def _unrest(self) -> str:
        """What is not as it has to be in the end."""
        assert self.coordinator is not None
        found = self.coordinator.machine.group(GROUP)
        alive = self._able()
        if found is None or found.state != "Stable":
            return "the group has no rest"
        if {member.member_id for member in alive} != {member.said.member_id for member in found.members}:
            return "others are members than those who are alive"
        wanted = {name for member in alive for name in (member.topics or NAMES.values())}
        readers = [partition for member in alive for partition in member.reading]
        if sorted(readers) != sorted(partition for partition in self.ends if self.name(partition) in wanted):
            return f"partitions are read as {readers}"
        behind = [partition for partition in readers if self.delivered[partition] < self.ends[partition]]
        return f"records of {behind} are not read" if behind else ""
