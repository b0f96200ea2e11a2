"""The sender or a member of the rebalance benchmark. A member notes when it got which records, and tells on request."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Iterator, Sequence

import orjson

import shmlog
from shmlog.testing.pacing import wait_until_ns
from shmlog.testing.worker_process import Message, hear, say, serve

MODULE = "shmlog.tools.bench.rebalance_worker"
POLL_S = 0.05


def send(order: Message) -> None:
    """One record to each partition, `per_second` times a second, until told to stop."""
    topic, partitions, step_ns = order["topic"], order["partitions"], 1e9 / order["per_second"]
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer() as producer:
        for partition in range(partitions):
            producer.send(topic, b"first", partition=partition).result(30.0)
        say(ready=True)
        first_ns, turn = time.monotonic_ns(), 0
        while hear(0.0) is None:
            wait_until_ns(first_ns + round(turn * step_ns))
            for partition in range(partitions):
                producer.send(topic, b"%d" % turn, partition=partition)
            turn += 1
    say(sent=turn * partitions)


class Reads:
    """What a member has read since it last told: partition and time of each poll that brought some of it; and when it
    was told to stop or to begin reading which partition."""

    def __init__(self) -> None:
        self._partitions: array[int] = array("q")
        self._times_ns: array[int] = array("q")
        self.revoked: list[tuple[int, int]] = []
        self.assigned: list[tuple[int, int]] = []
        """Times and partitions."""

    def note(self, partitions: Sequence[int], now_ns: int) -> None:
        for partition in partitions:
            self._partitions.append(partition)
            self._times_ns.append(now_ns)

    def between(self, start_ns: int, end_ns: int) -> dict[str, object]:
        """By partition: the first read in that time, and the longest time without one between two of them.

        What is older is forgotten.
        """
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        gap: dict[int, int] = {}
        for partition, at_ns in self._in_order():
            if at_ns < start_ns or at_ns > end_ns:
                continue
            first.setdefault(partition, at_ns)
            gap[partition] = max(gap.get(partition, 0), at_ns - last.get(partition, at_ns))
            last[partition] = at_ns
        return {
            "partitions": sorted(first),
            "first_ns": [first[one] for one in sorted(first)],
            "gap_ns": [gap[one] for one in sorted(first)],
            "paused_ns": [self._paused_ns(one, start_ns, end_ns) for one in sorted(first)],
        }

    def _paused_ns(self, partition: int, start_ns: int, end_ns: int) -> int:
        """The longest that a partition was taken from this member within that time, until it was given back."""
        longest = 0
        for at_ns, revoked in self.revoked:
            if revoked == partition and start_ns <= at_ns <= end_ns:
                back = (when for when, assigned in self.assigned if assigned == partition and when >= at_ns)
                longest = max(longest, min([end_ns, *back]) - at_ns)
        return longest

    def forget(self) -> None:
        """All of it."""
        del self._partitions[:], self._times_ns[:]
        self.revoked.clear()
        self.assigned.clear()

    def _in_order(self) -> Iterator[tuple[int, int]]:
        return zip(self._partitions, self._times_ns, strict=True)


def take_part(order: Message) -> None:
    """Join when told to, read, and answer: {start_ns, end_ns} with what happened between, {forget} with nothing."""
    reads = Reads()

    def on_revoke(_: shmlog.Consumer, partitions: Sequence[shmlog.TopicPartition]) -> None:
        reads.revoked += [(time.monotonic_ns(), place.partition) for place in partitions]

    def on_assign(_: shmlog.Consumer, partitions: Sequence[shmlog.TopicPartition]) -> None:
        reads.assigned += [(time.monotonic_ns(), place.partition) for place in partitions]

    with shmlog.connect(order["cluster"]) as cluster:
        say(ready=True)
        hear()
        joins_ns = time.monotonic_ns()
        with cluster.consumer(
            order["topic"], group_id=order["group"], on_assign=on_assign, on_revoke=on_revoke
        ) as consumer:
            while True:
                records = consumer.poll(timeout=POLL_S)
                now_ns = time.monotonic_ns()
                reads.note(sorted({record.partition for record in records}), now_ns)
                asked = hear(0.0)
                if asked is None:
                    continue
                if "stop" in asked:
                    break
                if "forget" in asked:
                    reads.forget()
                    continue
                start_ns = asked["start_ns"] or joins_ns
                found = reads.between(start_ns, asked["end_ns"])
                say(**found, joins_ns=joins_ns, member_id=consumer.member_id)
    say(left=True)


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    sys.exit(serve(lambda: send(request) if request["role"] == "send" else take_part(request)))
