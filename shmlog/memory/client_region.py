"""The client region: one per client process, with its doorbell and a slot for each partition that it reads."""

from __future__ import annotations

from shmlog.errors import ShmBudgetExceededError
from shmlog.memory import layout, region
from shmlog.memory.client_slot import NO_TOKEN, CommittedCell, MemberSlot, Slot, read_cell
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.native.trace import SampleWriter

_WORDS_PER_SLOT = layout.CLIENT_SLOT_BYTES // 8


def create_client_region(name: str, *, client_id: int, mode: int, group: int | None = None) -> None:
    """Make a client region of layout.CLIENT_SIZE bytes."""
    region.create(name, layout.CLIENT_SIZE, mode=mode, group=group)
    mapping = region.open_region(name, writable=True)
    layout.RegionHeader(layout.KIND_CLIENT, bytes(16), client_id, layout.boot_id()).store(mapping)
    mapping.close()


class ClientRegion:
    """A client region, mapped: its own process writes slots, owners ring `doorbell`, others read positions()."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.doorbell: Doorbell | None = Doorbell(mapping) if mapping.writable else None
        self._trace: SampleWriter | None = None

    @classmethod
    def open(cls, name: str, *, writable: bool = True) -> ClientRegion:
        mapping = region.open_region(name, writable=writable)
        layout.RegionHeader.load(mapping, layout.KIND_CLIENT, name)
        return cls(mapping)

    def claim_slot(self, partition_id: int, token: int = NO_TOKEN) -> Slot:
        """A free slot for `partition_id`; the client's own process only. `token`: of a member of a group."""
        at = self._free_slot()
        if self._trace is None:
            self._trace = SampleWriter(self.mapping, layout.CLIENT_TRACE)
        return Slot(self.mapping, at, partition_id, token, self._trace)

    def claim_member_slot(self, token: int) -> MemberSlot:
        """A free slot for when a member polls; the client's own process only."""
        return MemberSlot(self.mapping, self._free_slot(), token)

    def _free_slot(self) -> int:
        for number in range(layout.CLIENT_SLOT_COUNT):
            at = layout.CLIENT_SLOTS + number * layout.CLIENT_SLOT_BYTES
            if self.mapping.load(at + layout.SLOT_PARTITION) == 0:
                return at
        raise ShmBudgetExceededError(
            f"this client already reads {layout.CLIENT_SLOT_COUNT} partitions; connect a second time for more"
        )

    def positions(self) -> list[tuple[int, int]]:
        """(partition id, next offset) of every partition that this client reads."""
        words = self._slots()
        slots = zip(words[0::_WORDS_PER_SLOT], words[1::_WORDS_PER_SLOT], strict=True)
        return [(word - 1, offset) for word, offset in slots if 0 < word < layout.SLOT_MEMBER]

    def cells(self, token: int) -> dict[int, CommittedCell]:
        """By partition id, what this member of a group has committed in its cells; partitions without are left out.

        Each is one whole commit, the newest at some moment of this call.
        """
        found: dict[int, CommittedCell] = {}
        for at in self._slots_of(token):
            cell = read_cell(self.mapping, at, token)
            if cell is not None:
                found[cell[0]] = cell[1]
        return found

    def last_poll(self, token: int) -> int | None:
        """When this member of a group asked for records last, in ns of the monotonic clock; None: it is not here."""
        for at in self._slots_of(token):
            if self.mapping.load(at + layout.SLOT_PARTITION) == layout.SLOT_MEMBER:
                return self.mapping.load(at + layout.SLOT_POSITION)
        return None

    @property
    def has_commits(self) -> bool:
        """Whether a slot is taken that a member of a group may have committed in."""
        words = self._slots()
        tokens = words[layout.SLOT_TOKEN // 8 :: _WORDS_PER_SLOT]
        return any(word and token for word, token in zip(words[0::_WORDS_PER_SLOT], tokens, strict=True))

    def _slots(self) -> memoryview:
        """A copy of the words of all slots, each of which may be of another moment."""
        size_bytes = layout.CLIENT_SLOT_COUNT * layout.CLIENT_SLOT_BYTES
        return memoryview(self.mapping.read(layout.CLIENT_SLOTS, size_bytes)).cast("Q")

    def _slots_of(self, token: int) -> list[int]:
        """Where the slots are that may be those of a member."""
        tokens = self._slots()[layout.SLOT_TOKEN // 8 :: _WORDS_PER_SLOT]
        return [
            layout.CLIENT_SLOTS + number * layout.CLIENT_SLOT_BYTES
            for number, found in enumerate(tokens)
            if found == token
        ]

    def close(self) -> None:
        self.mapping.close()
