"""Balance among members whose subscriptions overlap without being the same: a flow of least cost, found by improvement.

Each partition is a unit that flows from its topic to a member that wants it, and on to the end. The n-th one of a
member costs 2n - 1 steps, so that the sum is least where the loads are most even; with a member that did not have it
before it costs 1, and a step is more than all moves together. A flow is of least cost if and only if no closed walk
changes it for the better, and such walks are what Bellman and Ford's rounds find:

    end -> member       it has one less
    member -> topic     it gives up a partition of that topic: one that it did not have before, if there is any
    topic -> member     who takes it
    member -> member    a partition goes back to who had it before
    member -> end       it has one more

A heuristic goes before, because a walk changes loads by one only. The search ends, with an assignment that is valid and
nearly as good, after so many looks: a few tenths of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

from shmlog.machines.group.assignor import MemberSubscription
from shmlog.model import TopicPartition

LOOKS_MAX = 4_000_000
PASSES_MAX = 16
"""Over all topics, before the search: each pass about halves what is uneven."""


def balance_uneven(
    members: Sequence[MemberSubscription], kept: dict[str, list[TopicPartition]], free: list[TopicPartition]
) -> None:
    """Deal `free` to who wants it, and move what is kept where that makes loads more even. Changes `kept`."""
    flow = _Flow(members, kept)
    flow.deal(free)
    flow.level()
    flow.improve()
    for number, member in enumerate(members):
        kept[member.member_id] = [one for some in flow.held[number].values() for one in some]


class _Flow:
    """Members and topics by number, members first; the end is the last node."""

    def __init__(self, members: Sequence[MemberSubscription], kept: dict[str, list[TopicPartition]]) -> None:
        self.members = members
        self._topics = sorted({topic for member in members for topic in member.topics})
        self._topic_numbers = {topic: number for number, topic in enumerate(self._topics)}
        self._subscribers: list[list[int]] = [[] for _ in self._topics]
        self.held: list[dict[int, list[TopicPartition]]] = [{} for _ in members]
        """By member and topic."""
        self._load = [0] * len(members)
        self._home: dict[TopicPartition, int] = {}
        for number, member in enumerate(members):
            for topic in member.topics:
                self._subscribers[self._topic_numbers[topic]].append(number)
            for partition in kept[member.member_id]:
                self._home[partition] = number
                self._add(number, partition)
        self._end = len(members) + len(self._topics)

    def _add(self, member: int, partition: TopicPartition) -> None:
        self.held[member].setdefault(self._topic_numbers[partition.topic], []).append(partition)
        self._load[member] += 1

    def _remove(self, member: int, partition: TopicPartition) -> None:
        topic = self._topic_numbers[partition.topic]
        some = self.held[member][topic]
        some.remove(partition)
        if not some:
            del self.held[member][topic]
        self._load[member] -= 1

    def _to_give(self, member: int, topic: int) -> TopicPartition:
        """What a member gives up of a topic: what it did not have before rather than what it had."""
        some = self.held[member][topic]
        return next((one for one in reversed(some) if self._home.get(one) != member), some[-1])

    # --- the heuristic ------------------------------------------------------------------------------------------------

    def deal(self, free: list[TopicPartition]) -> None:
        """Topics that few want first, each partition to who has least."""
        by_topic: list[list[TopicPartition]] = [[] for _ in self._topics]
        for partition in free:
            by_topic[self._topic_numbers[partition.topic]].append(partition)
        for topic in sorted(range(len(self._topics)), key=lambda one: (len(self._subscribers[one]), one)):
            waiting = [(self._load[member], member) for member in self._subscribers[topic]]
            heapify(waiting)
            for partition in by_topic[topic]:
                load, member = waiting[0]
                self._add(member, partition)
                heapreplace(waiting, (load + 1, member))

    def level(self) -> None:
        """Topic by topic from who has most to who has least; first only across the middle, which nothing has to cross
        twice."""
        middle = sum(self._load) // len(self._load)
        for number in range(PASSES_MAX):
            moved = [self._level_topic(topic, middle if number == 0 else None) for topic in range(len(self._topics))]
            if number > 0 and not any(moved):
                return

    def _level_topic(self, topic: int, middle: int | None) -> int:
        least = [(self._load[member], member) for member in self._subscribers[topic]]
        most = [(-self._load[member], member) for member in self._subscribers[topic] if topic in self.held[member]]
        heapify(least)
        heapify(most)
        moved = 0
        while most:
            giver, taker = most[0][1], least[0][1]
            if -most[0][0] != self._load[giver]:  # it took something since
                heapreplace(most, (-self._load[giver], giver))
            elif least[0][0] != self._load[taker]:  # it gave something since
                heapreplace(least, (self._load[taker], taker))
            elif self._load[giver] < self._load[taker] + 2 or (
                middle is not None and not self._load[taker] < middle < self._load[giver]
            ):
                break
            else:
                partition = self._to_give(giver, topic)
                self._remove(giver, partition)
                self._add(taker, partition)
                heapreplace(least, (self._load[taker], taker))
                heappop(most)
                if topic in self.held[giver]:
                    heappush(most, (-self._load[giver], giver))
                moved += 1
        return moved

    # --- the search ---------------------------------------------------------------------------------------------------

    def improve(self) -> None:
        looks = 0
        while looks < LOOKS_MAX:
            walks, seen = self._better_walks()
            looks += seen
            if not walks:
                return
            for walk in walks:
                self._follow(walk)

    def _better_walks(self) -> tuple[list[list[int]], int]:
        """Closed walks of negative cost that share no node; and how many edges were looked at."""
        nodes = self._end + 1
        cost, come_from = [0] * nodes, [-1] * nodes
        looks = 0
        for _ in range(nodes):
            changed, seen = self._round(cost, come_from)
            looks += seen
            if not changed:
                return [], looks
            walks = _cycles(come_from)
            if walks:
                return walks, looks
        raise AssertionError("a search that goes on for more rounds than there are nodes has found a cycle")

    def _round(self, cost: list[int], come_from: list[int]) -> tuple[bool, int]:
        """Look at every edge once: is its end reached at less cost by way of it?"""
        end, members = self._end, len(self._load)
        step = 2 * sum(self._load) + 2
        changed, looks = False, 2 * members
        for member in range(members):
            by_load = cost[end] - step * (2 * self._load[member] - 1)
            if self._load[member] and by_load < cost[member]:
                cost[member], come_from[member], changed = by_load, end, True
        for member in range(members):
            here = cost[member]
            looks += self._load[member]
            for topic, some in self.held[member].items():
                price = 1
                for partition in some:
                    home = self._home.get(partition, -1)
                    if home == member:
                        continue
                    price = 0
                    if home >= 0 and here - 1 < cost[home]:
                        cost[home], come_from[home], changed = here - 1, member, True
                if here + price < cost[members + topic]:
                    cost[members + topic], come_from[members + topic], changed = here + price, member, True
        for topic, subscribers in enumerate(self._subscribers):
            here = cost[members + topic]
            looks += len(subscribers)
            for member in subscribers:
                if here < cost[member]:
                    cost[member], come_from[member], changed = here, members + topic, True
        for member in range(members):
            by_load = cost[member] + step * (2 * self._load[member] + 1)
            if by_load < cost[end]:
                cost[end], come_from[end], changed = by_load, member, True
        return changed, looks

    def _follow(self, walk: list[int]) -> None:
        """Move the partitions that the edges of a closed walk stand for."""
        members = len(self._load)
        moves = []
        for at, node in enumerate(walk):
            after, beyond = walk[(at + 1) % len(walk)], walk[(at + 2) % len(walk)]
            if node >= members or after == self._end:
                continue
            if after >= members:
                moves.append((node, beyond, self._to_give(node, after - members)))
            else:
                moves.append((node, after, self._going_home(node, after)))
        for giver, taker, partition in moves:
            self._remove(giver, partition)
            self._add(taker, partition)

    def _going_home(self, member: int, home: int) -> TopicPartition:
        return next(one for some in self.held[member].values() for one in some if self._home.get(one) == home)


def _cycles(come_from: list[int]) -> list[list[int]]:
    """The cycles that following `come_from` runs into, each in the direction of the edges."""
    state = [0] * len(come_from)  # 0: not seen; else the number of the start that came by
    found = []
    for start in range(len(come_from)):
        node = start
        while node >= 0 and not state[node]:
            state[node] = start + 1
            node = come_from[node]
        if node >= 0 and state[node] == start + 1:
            cycle, at = [node], come_from[node]
            while at != node:
                cycle.append(at)
                at = come_from[at]
            found.append(cycle[::-1])
    return found
