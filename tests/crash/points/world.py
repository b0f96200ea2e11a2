"""One run of a scenario: processes, the kill, recoveries, and what everybody must find afterwards.

The process that runs this plays everybody who survives: the supervisor that makes lanes, the producers, a consumer, and
in the end the owner that takes over and is checked. Whoever may be killed is an Actor.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError
from shmlog.log.cold import ColdReader
from shmlog.memory import layout, names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms, create_lane
from shmlog.model import TopicPartition
from shmlog.native.records import Record
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.reader import PartitionReader
from shmlog.testing.partition_rig import TOPIC_NAME
from tests.crash.points.actor import Actor
from tests.crash.points.count import CountPage
from tests.crash.points.replicas import Replicas
from tests.crash.points.roles import CLIENT_ID, CONFIG, Journal, OwnerRole, ProducerRole

PARTITION_ID = 1


@dataclass
class Party:
    """A producer as the checks see it."""

    name: int
    lane_id: int
    journal: Journal
    role: ProducerRole | None = None
    """None: an Actor has it, and may be dead."""
    refused_from: int | None = None
    """From this number on its records are refused, or wait behind one that is."""

    @property
    def accepted_for_good(self) -> int:
        accepted = self.journal.accepted
        return accepted if self.refused_from is None else min(accepted, self.refused_from)

    @property
    def intended_for_good(self) -> int:
        intended = self.journal.intended
        return intended if self.refused_from is None else min(intended, self.refused_from)

    def send(self, count: int, size: int = 40) -> None:
        assert self.role is not None
        self.role.send(count, size)

    def seal(self) -> None:
        assert self.role is not None
        self.role.seal()

    def reclaim(self) -> None:
        assert self.role is not None
        self.role.reclaim()


@dataclass(frozen=True)
class Cells:
    """What stands in the control page."""

    intent: int
    tail: int
    written: int
    synced: int
    hw: int
    lso: int
    generation: int

    @classmethod
    def of(cls, page: ControlPage) -> Cells:
        load = page.mapping.load
        positions = (
            layout.CTL_INTENT_POS,
            layout.CTL_TAIL_POS,
            layout.CTL_WRITTEN_POS,
            layout.CTL_SYNCED_POS,
            layout.CTL_HW_POS,
            layout.CTL_LSO_POS,
            layout.CTL_RING_GENERATION,
        )
        return cls(*(load(cell) for cell in positions))

    def check(self, *, synced_first: bool = False) -> None:
        """`synced_first`: what consumers see has to be on the disk (flush.messages=1)."""
        assert self.hw <= self.synced or not synced_first, self
        assert self.synced <= self.written <= self.tail <= self.intent, self
        assert self.lso <= self.hw <= self.written, self

    def check_follows(self, earlier: Cells) -> None:
        """Nothing goes back within one generation of the ring."""
        if self.generation == earlier.generation:
            for cell in ("intent", "tail", "written", "synced", "hw", "lso"):
                assert getattr(self, cell) >= getattr(earlier, cell), (cell, earlier, self)


class World:
    """What a scenario is told with. `page`: where the victim counts, and at which point it is killed."""

    def __init__(self, place: Path, page: CountPage) -> None:
        self.page = page
        self.place = place
        self.directory = place / "flights-0"
        self.tag = names.cluster_tag("points", str(place))
        self.config = dict(CONFIG)
        self.segment_bytes = 1 << 30
        self.parties: list[Party] = []
        self.owner: Actor | None = None
        self.epochs_used = 0
        self.was_rebooted = False
        self.seen: list[Record] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What survivors do after the kill, before anybody succeeds."""
        self.compacted: list[dict[int, tuple[int, int]]] = [{}]
        """What compaction may have removed, all of one of these: names and numbers of records by offset; the last has
        the others."""
        self._actors: list[Actor] = []
        self.lanes_made = 0
        self.terms: dict[int, LaneTerms] = {}
        self.replicas = Replicas(self.tag)
        self._reader: PartitionReader | None = None
        self._make_client()

    @property
    def removable(self) -> set[int]:
        """Offsets that compaction has removed, or was about to."""
        return set(self.compacted[-1])

    # --- who may be killed --------------------------------------------------------------------------------------------

    def actor(self, make: Callable[[], object], *, armed: bool = False, page: CountPage | None = None) -> Actor:
        made = Actor(make, page or self.page, armed=armed)
        self._actors.append(made)
        return made

    def start_owner(self, *, armed: bool = False, page: CountPage | None = None) -> Actor:
        """An owner, after whatever was there before."""
        epoch = self.next_epoch()
        self.owner = self.actor(lambda: self.partition(epoch), armed=armed, page=page)
        return self.owner

    def next_epoch(self) -> int:
        self.epochs_used += 1
        return self.epochs_used - 1

    def partition(self, epoch: int) -> OwnerRole:
        in_sync, replicas = self.replicas.in_sync, 1 + len(self.replicas.copied)
        place = self.tag, self.directory, self.config, epoch, self.segment_bytes, self.page
        return OwnerRole(*place, in_sync, replicas=replicas)

    def order(self, method: str, *arguments: Any) -> Any:
        assert self.owner is not None
        return self.owner.call(method, *arguments)

    def kill_everybody(self) -> None:
        for actor in self._actors:
            actor.kill()

    # --- who survives -------------------------------------------------------------------------------------------------

    def lane_region(
        self, *, producer_id: int, producer_epoch: int = 0, linger_us: int = 0, max_batch: int = 2048, codec: int = 0
    ) -> int:
        """What the supervisor does for a lane; its id."""
        self.lanes_made += 1
        data_bytes = max(8192, region.page_align(2 * (max_batch + 64)))
        self.terms[self.lanes_made] = LaneTerms(
            CLIENT_ID, producer_id, producer_epoch, max_batch, data_bytes, codec, level=-1
        )
        name = names.lane(self.tag, self.lanes_made)
        create_lane(name, lane_id=self.lanes_made, data_bytes=data_bytes, linger_us=linger_us, mode=0o600)
        return self.lanes_made

    def attach(self, lane_id: int) -> None:
        """The supervisor's order to the owner."""
        self.order("attach", lane_id, self.terms[lane_id])

    def lane(
        self,
        *,
        producer_id: int | None = None,
        named: int | None = None,
        sequence: int = 0,
        acks: int = -1,
        **terms: int,
    ) -> Party:
        """A producer that survives, and its lane, attached. `named`: it sends the records of that producer again."""
        lane_id = self.lane_region(producer_id=len(self.parties) + 1 if producer_id is None else producer_id, **terms)
        self.attach(lane_id)
        return self.party(lane_id, named=named, sequence=sequence, acks=acks)

    def victim_producer(self, **terms: int) -> Actor:
        """A producer that may be killed; its lane is attached to an owner that lives on."""
        producer_id = terms.pop("producer_id", len(self.parties) + 1)
        party = Party(0, self.lane_region(producer_id=producer_id, **terms), Journal())
        party.name = party.lane_id
        self.attach(party.lane_id)
        self.parties.append(party)
        return self.actor(
            lambda: ProducerRole(
                self.tag,
                party.lane_id,
                self.terms[party.lane_id],
                name=party.name,
                acks=-1,
                sequence=0,
                journal=party.journal,
            )
        )

    def party(self, lane_id: int, *, named: int | None = None, sequence: int = 0, acks: int = -1) -> Party:
        """A producer that survives, on a lane that is there."""
        party = Party(named or lane_id, lane_id, Journal())
        party.role = ProducerRole(
            self.tag, lane_id, self.terms[lane_id], name=party.name, acks=acks, sequence=sequence, journal=party.journal
        )
        self.parties.append(party)
        return party

    def read(self) -> list[Record]:
        """What a consumer that survives finds now, from where it stood."""
        if self._reader is None:
            self._reader = PartitionReader(
                TopicPartition(TOPIC_NAME, 0),
                lambda: MappedPartition(self.tag, PARTITION_ID),
                lambda _: ColdReader(str(self.directory)),
                0,
            )
        found: list[Record] = []
        while True:
            try:
                records = self._reader.fetch(1 << 20)
            except OffsetOutOfRangeError:  # retention was faster
                self._reader.seek(self._reader.watermarks().low)
                continue
            if not records:
                break
            found += records
        self.seen += found
        return found

    def cells(self) -> Cells | None:
        """What the control page says now; None without one that is whole."""
        try:
            page = ControlPage.open(self.tag, PARTITION_ID)
        except (FileNotFoundError, CorruptRecordError):
            return None
        try:
            return Cells.of(page) if page.generation else None
        finally:
            page.close()

    def reboot(self) -> None:
        """Shared memory is gone, and everybody with it; the files are as they were written."""
        self.kill_everybody()
        self.was_rebooted = True
        region.sweep(self.tag)
        self._make_client()
        self.replicas.start_again()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _make_client(self) -> None:
        """The client region of everybody who survives; it sleeps all the time, so that owners have to ring it."""
        create_client_region(names.client(self.tag, CLIENT_ID), client_id=CLIENT_ID, mode=0o600)
        self.client = ClientRegion.open(names.client(self.tag, CLIENT_ID))
        self.client.mapping.write(layout.BELL_SLEEPING, (1).to_bytes(4, "little"))

    def rings(self) -> int:
        """How often the client was rung."""
        return int.from_bytes(self.client.mapping.read(layout.BELL_DOORBELL, 4), "little")

    def close(self) -> None:
        self.kill_everybody()
        region.sweep(self.tag)
        shutil.rmtree(self.place, ignore_errors=True)
