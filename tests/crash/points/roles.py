"""What the processes of a scenario hold: an owner's partition, a producer's lane."""

from __future__ import annotations

import contextlib
import mmap
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shmlog import settings
from shmlog.clock import wall_ms
from shmlog.control.messages import Message, SwapRefused, SwapSegments
from shmlog.memory import lane as lane_regions, layout, names, region
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.lane import LaneTerms
from shmlog.native.delivery import Delivery
from shmlog.native.succession import adopt
from shmlog.partition.regeneration import grow_ring
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, LaneNeedsAttentionError, Rig
from tests.crash.points.count import CountPage

RING_BYTES = 16384
INDEX_ENTRIES = 64
CLIENT_ID = 1
CONFIG = {"max.message.bytes": "2048", "index.interval.bytes": "300", "file.delete.delay.ms": "0"}


def shrink_everything() -> None:
    """Rings of 16 KiB, indexes of a page and lanes of two: what wraps and grows does so after a few records."""
    settings.RING_BYTES_MIN = RING_BYTES  # type: ignore[attr-defined]  # imported there from limits
    lane_regions.LANE_BYTES_MIN = 2 * layout.LANE_DATA  # type: ignore[attr-defined]  # likewise
    region.INDEX_ENTRIES_MIN = INDEX_ENTRIES


class OwnerRole(Rig):
    """A partition in its owner's hands: methods are the orders that a scenario gives."""

    def __init__(
        self,
        tag: str,
        directory: Path,
        config: dict[str, str],
        epoch: int,
        segment_bytes: int,
        page: CountPage,
        in_sync: Sequence[int] = (),
        *,
        replica_id: int = 0,
        replicas: int | None = None,
    ) -> None:
        self._segment_bytes = segment_bytes
        self._page = page
        super().__init__(tag, directory, config, epoch, in_sync, replica_id=replica_id, replicas=replicas)

    def take_over(self, epoch: int) -> None:
        super().take_over(epoch)
        self.publisher.segment_bytes = self._segment_bytes  # smaller than a setting may be
        self.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RUN)
        self.publisher.attach_client(CLIENT_ID, ClientRegion.open(names.client(self.tag, CLIENT_ID)).mapping)

    def attach(self, lane_id: int, terms: LaneTerms) -> None:
        self.desk.attach(lane_id, terms)

    def detach(self, lane_id: int) -> None:
        self.close_lane(lane_id)

    def begin_close(self, lane_id: int) -> None:
        self.desk.begin_close(lane_id, "closed")

    def is_open(self, lane_id: int) -> bool:
        """Whether the lane is attached and takes records."""
        is_attached = lane_id in self.publisher.lane_ids()
        return is_attached and self.publisher.lane_state(lane_id)[1] == layout.LaneState.OPEN

    def publish_once(self) -> int:
        """One round of the loop, as far as it goes in a microsecond."""
        return self.publisher.run(1)

    def roll(self) -> None:
        self.keeper.roll()

    def sync(self) -> None:
        self.keeper.sync()

    def grow(self) -> None:
        grow_ring(self.spec, 2 * self.publisher.capacity, self.control, self.publisher)

    def alter(self, config: dict[str, str]) -> None:
        altered = TopicConfig.from_mapping(self.config | config)
        self.opened.config = altered
        self.desk.max_batch_bytes = max(self.desk.max_batch_bytes, altered.max_message_bytes)
        self.keeper.configure(altered)
        self.publisher.segment_bytes = self._segment_bytes

    def follow(self) -> None:
        """Follow every record from now on, as long as this takes."""
        self.publisher.trace(1 << 62, 1)

    def retain(self) -> None:
        self.keeper.apply_retention(wall_ms())

    def swap(self, order: SwapSegments) -> None:
        """Carry out what the supervisor would order of a cleaning."""

        def refused(message: SwapRefused) -> None:
            raise AssertionError(message)

        self.keeper.swap(order, refused)

    def delete_before(self, offset: int) -> None:
        self.keeper.delete_before(offset, wall_ms())

    def sync_aside(self) -> None:
        """As if flush.ms had passed: a thread syncs from now on, and has ended or stopped when this returns."""
        self.keeper.sync_aside(1 << 62)
        for thread in threading.enumerate():
            while thread.name == "sync" and thread.is_alive() and not self._page.is_aside_frozen:
                thread.join(0.001)

    def collect_sync(self) -> None:
        self.keeper.sync_aside(0)

    def followers_are(self, version: int, in_sync: Sequence[int], others: Sequence[int]) -> None:
        inside = [self.follower_at(replica_id, in_sync=True) for replica_id in in_sync]
        self.followers.replace(version, [*inside, *(self.follower_at(one, in_sync=False) for one in others)])

    def look_at_followers(self, now_ns: int) -> list[Message]:
        """What is reported then."""
        del self.reports[:]
        self.followers.look(now_ns)
        return self.reports

    def close(self) -> None:
        """A clean end, as the owner's agent does it."""
        page = self.control.mapping
        page.store(layout.CTL_STATE, layout.OwnerState.CLOSING)
        self.desk.close_all()
        self.run()
        self.desk.drained()
        self.keeper.close(clean=True)
        self.followers.close()
        page.store(layout.CTL_STATE, layout.OwnerState.CLOSED)
        self.publisher.settle()


RUN_MS = 1_700_000_000_000


class Journal:
    """What a producer did, in memory that outlives it: how many records it began to send, how many were accepted."""

    _CELLS = struct.Struct("<QQ")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def intended(self) -> int:
        return int(self._CELLS.unpack_from(self._memory)[0])

    @property
    def accepted(self) -> int:
        return int(self._CELLS.unpack_from(self._memory)[1])

    def note(self, *, intended: int, accepted: int) -> None:
        self._CELLS.pack_into(self._memory, 0, intended, accepted)


class ProducerRole:
    """A producer with one lane. Its records say which lane and which number: b"<lane>:<number>:" and filling."""

    def __init__(
        self,
        tag: str,
        lane_id: int,
        terms: LaneTerms,
        *,
        name: int,
        acks: int,
        sequence: int,
        journal: Journal,
        first: int = 0,
    ) -> None:
        self._tag = tag
        self._acks = acks
        self.lane = Lane(tag, lane_id, terms, acks, sequence)
        self.name = name
        self.deliveries: dict[int, Delivery] = {}
        self._journal = journal
        self._next = first

    def send(self, count: int, size: int = 40) -> None:
        for _ in range(count):
            number = self._next
            value = value_of(self.name, number, size)
            self._journal.note(intended=number + 1, accepted=number)
            self.deliveries[number] = self.lane.send(TOPIC_NAME, value, key=b"k%d" % number, headers=[("h", b"v")])
            self._journal.note(intended=number + 1, accepted=number + 1)
            self._next = number + 1

    def send_run(self, count: int, size: int = 40) -> None:
        """Send records together, which count as accepted when the call returns; each is a millisecond younger."""
        first = self._next
        self._journal.note(intended=first + count, accepted=first)
        values = [value_of(self.name, number, size) for number in range(first, first + count)]
        offsets = np.cumsum([0, *map(len, values)])
        keys = np.array([b"k%d" % number for number in range(first, first + count)])
        sent = self.lane.send_columns(
            TOPIC_NAME, (offsets, b"".join(values)), keys, timestamps_ms=range(RUN_MS + first, RUN_MS + first + count)
        )
        self.deliveries |= {first + k: sent[k] for k in range(count)}
        self._next = first + count
        self._journal.note(intended=self._next, accepted=self._next)

    def send_aside(self) -> None:
        """Send into a lane that is closed already: the lane says so, and the record is not accepted yet."""
        number, self._next = self._next, self._next + 1
        self._journal.note(intended=number + 1, accepted=number)
        with contextlib.suppress(LaneNeedsAttentionError):
            self.lane.send(TOPIC_NAME, value_of(self.name, number, 40))

    def move_to(self, lane_id: int, terms: LaneTerms) -> None:
        """Carry what a closed lane did not publish into another one, as a producer does."""
        old = self.lane
        unpublished = old.writer.unpublished()
        sequence = old.writer.next_sequence - sum(batch.count for batch in unpublished)
        self.lane = Lane(self._tag, lane_id, terms, self._acks, sequence)
        for batch in unpublished:
            assert adopt(self.lane.writer, old.writer, batch)
        self._journal.note(intended=self._next, accepted=self._next)

    def seal(self) -> None:
        self.lane.writer.seal()

    def reclaim(self) -> None:
        self.lane.writer.reclaim()


def value_of(name: int, number: int, size: int) -> bytes:
    return (b"%d:%d:" % (name, number)).ljust(size, b".")


def name_and_number(value: bytes) -> tuple[int, int]:
    name, number, _ = value.split(b":", 2)
    return int(name), int(number)
