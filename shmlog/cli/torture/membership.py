"""One member process of a torture's consumer group: it shares all topics with others, commits, and notes what it does.

It is killed and stopped at any moment; another process then joins in its place, as another member.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from shmlog.cli.torture.patience import PAUSE_S, connect_patiently
from shmlog.cli.torture.records import GARBLED_PRODUCER, Recipe
from shmlog.errors import ShmlogError, UnknownMemberError
from shmlog.testing.group_history import EventKind, GroupNotes
from shmlog.testing.history import SEQUENCE_BITS
from shmlog.testing.worker_process import hear, say, serve

if TYPE_CHECKING:
    from shmlog import Cluster, Consumer, Record, TopicPartition

MODULE = "shmlog.cli.torture.membership"
GROUP = "tortured"
BORNE = ("CommitFailedError", "PollTimeoutError")
"""Errors of a member that others have taken the place of, or whose coordinator is gone: the next poll tells."""
REPORT_EVERY_S = 0.5
POLL_TIMEOUT_S = 0.1
POLL_RECORDS = 300
STYLES = ("sync", "async", "auto")
POLL_INTERVAL_MS = 1500
"""Shorter than some of the stops: a member that sleeps longer is fenced, and learns it when it wakes."""


class Membership:
    """A member's notes. `style` says how it commits."""

    def __init__(self, recipe: Recipe, file: Path, style: str) -> None:
        self.recipe = recipe
        self.style = style
        self.read = 0
        self.troubles: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._process = f"{os.getpid()}"
        self.notes = GroupNotes(file, self._name())

    def _name(self) -> str:
        return f"{self._process}.{next(self._numbers)}"

    def join(self, cluster: Cluster) -> Consumer:
        return cluster.consumer(
            *self.recipe.topics,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=self.style == "auto",
            max_poll_interval_ms=POLL_INTERVAL_MS,
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    # --- what it is told ----------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.notes.note("assigned", str(partition), consumer.position(partition))

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.notes.note("revoked", str(partition), consumer.position(partition))

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.notes.note("lost")
        self.notes.member = self._name()
        self.troubles["lost"] += 1

    # --- what it does -------------------------------------------------------------------------------------------------

    def poll(self, consumer: Consumer) -> None:
        """One poll, its notes, and what it commits of it."""
        try:
            records = consumer.poll(max_records=POLL_RECORDS, timeout=POLL_TIMEOUT_S)
        except ShmlogError as error:
            self._bear(error)
            return
        self.notes.note("polled")
        ends = self._take(records)
        if self.style == "sync":
            self._commit(consumer, ends, "committing", "committed", lambda: consumer.commit(ends, timeout=20.0))
        elif self.style == "async":
            self._commit(consumer, ends, "storing", "stored", lambda: consumer.commit(ends, asynchronous=True))

    def _take(self, records: Sequence[Record]) -> dict[TopicPartition, int]:
        """Note what was given out, run by run; a record that is not as it was sent is an error."""
        from shmlog import TopicPartition

        ends: dict[TopicPartition, int] = {}
        for place, run in itertools.groupby(records, lambda record: TopicPartition(record.topic, record.partition)):
            given = list(run)
            for record in given:
                identity = self.recipe.identify(record.topic, record.offset, record.key, record.value)
                if identity >> SEQUENCE_BITS == GARBLED_PRODUCER:
                    raise ValueError(f"{place} has at {record.offset} what nobody sent: {record.value!r:.80}")
            first, last = given[0].offset, given[-1].offset
            if last - first + 1 != len(given):
                raise ValueError(f"{place}: {len(given)} records from {first} to {last}, some are missing")
            self.notes.note("delivered", str(place), first, last + 1)
            ends[place] = last + 1
        self.read += len(records)
        return ends

    def _commit(
        self,
        consumer: Consumer,
        ends: dict[TopicPartition, int],
        before: EventKind,
        after: EventKind,
        commit: Callable[[], object],
    ) -> None:
        if not ends:
            return
        for place, end in ends.items():
            self.notes.note(before, str(place), end)
        try:
            commit()
        except ShmlogError as error:
            self._bear(error)
            return
        for place, end in ends.items():
            self.notes.note(after, str(place), end)

    def _bear(self, error: ShmlogError) -> None:
        """What passes by itself, or with the next poll, is counted."""
        if not (error.retriable or isinstance(error, UnknownMemberError) or type(error).__name__ in BORNE):
            raise error
        self.troubles[type(error).__name__] += 1
        time.sleep(PAUSE_S)


def work() -> None:
    """Share the work until the parent says that it is over."""
    order = orjson.loads(sys.argv[1])
    style = STYLES[order["number"] % len(STYLES)]
    member = Membership(Recipe.of(order["topics"], order["record_bytes_max"]), Path(order["history"]), style)
    with connect_patiently(order["cluster"]) as cluster, member.join(cluster) as consumer:
        say(ready=True)
        last_report = 0.0
        while hear(0.0) is None:
            member.poll(consumer)
            if time.monotonic() - last_report >= REPORT_EVERY_S:
                last_report = time.monotonic()
                say(read=member.read, at={str(one): consumer.position(one) for one in consumer.assignment()})
        say(done=True, read=member.read, troubles=dict(member.troubles), member=member.notes.member)
        member.notes.close()


if __name__ == "__main__":
    sys.exit(serve(work))
