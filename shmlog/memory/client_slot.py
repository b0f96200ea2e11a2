"""A slot of a client region: one partition that the client reads, where it stands, and what it has committed.

    0x00 partition id + 1 (0: free)      0x20 offset, leader epoch    of the commits with an even number
    0x08 position                        0x30 offset, leader epoch    of those with an odd one
    0x10 token of the member
    0x18 number of the last commit

What follows the token is the commit cell. A commit writes the pair of the commit before last, then its own number: one
store makes it known, and whatever a kill leaves is the newer pair or the older one. Numbers only grow, also when the
slot is taken for another partition or another member: who finds the same number before and after has read one commit of
one member. The token stands for a member of a group. Its id is never used again, so what a fenced member stores late is
looked for by nobody. One slot more for each member (SLOT_MEMBER for a partition) says when it polled last.
"""

from __future__ import annotations

import hashlib
from time import monotonic_ns
from typing import Final, NamedTuple

from shmlog.memory import layout
from shmlog.native.mapping import Mapping
from shmlog.native.trace import SampleWriter

NO_TOKEN: Final = 0
"""Of a slot whose consumer is not in a group."""

LOOKS_MAX: Final = 1000
"""So often a cell is looked at that changes meanwhile. A client that lets nobody read its cell has no commit."""

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1
_NO_COMMIT: Final = 2**64 - 1  # in place of an offset
_UNKNOWN_EPOCH: Final = 2**64 - 1


class CommittedCell(NamedTuple):
    """What a commit cell says: read up to, not including, `offset`; `leader_epoch` of the record before it, or -1."""

    offset: int
    leader_epoch: int


def member_token(group: str, member_id: str) -> int:
    """What stands for a member of a group in slots; never NO_TOKEN."""
    digest = hashlib.blake2b(f"{group}\0{member_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def claim(mapping: Mapping, at: int, word: int, token: int, position: int) -> int:
    """Take the free slot at `at`: its commit cell is empty from now on. Returns the number that this was."""
    number = mapping.load(at + layout.SLOT_COMMITS) + 1
    mapping.store(_pair(at, number), _NO_COMMIT)
    # SYNC POINT cell-claim: pairs with cell-again. Who sees the new token or partition sees another number.
    mapping.store(at + layout.SLOT_COMMITS, number)
    mapping.store(at + layout.SLOT_TOKEN, token)
    mapping.store(at + layout.SLOT_POSITION, position)
    mapping.store(at + layout.SLOT_PARTITION, word)
    return number


def read_cell(mapping: Mapping, at: int, token: int) -> tuple[int, CommittedCell] | None:
    """(partition id, its commit) of the slot at `at`, if it is one of this member's with a commit."""
    for _ in range(LOOKS_MAX):
        number = mapping.load(at + layout.SLOT_COMMITS)  # SYNC POINT cell-look: pairs with cell-commit
        word = mapping.load(at + layout.SLOT_PARTITION)
        if not 0 < word < layout.SLOT_MEMBER or mapping.load(at + layout.SLOT_TOKEN) != token:
            return None
        pair = _pair(at, number)
        # SYNC POINT cell-again: pairs with cell-pair, cell-claim. The loads above and these acquire, so that the number
        # below is at least as new as anything that was read.
        offset, leader_epoch = mapping.load(pair), mapping.load(pair + 8)
        if mapping.load(at + layout.SLOT_COMMITS) != number:
            continue
        if offset > INT64_MAX:  # none, or nonsense
            return None
        return word - 1, CommittedCell(offset, leader_epoch if leader_epoch <= INT32_MAX else -1)
    return None


def _pair(at: int, number: int) -> int:
    return at + layout.SLOT_PAIRS + layout.SLOT_PAIR_BYTES * (number & 1)


class Slot:
    """A consumer's cursor on one partition: for others to see how far it is, and for what it commits.

    The consumer's process writes it, one thread at a time.
    """

    __slots__ = ("_at", "_mapping", "_number", "_partition_id", "_trace", "token")

    def __init__(self, mapping: Mapping, at: int, partition_id: int, token: int, trace: SampleWriter) -> None:
        self._mapping = mapping
        self._at = at
        self._partition_id = partition_id
        self._trace = trace
        self.token = token
        """Of the member that reads the partition, or NO_TOKEN."""
        self._number = claim(mapping, at, partition_id + 1, token, 0)

    def store_position(self, offset: int) -> None:
        """Publish the next offset that the consumer will read."""
        self._mapping.store(self._at + layout.SLOT_POSITION, offset)

    def commit(self, offset: int, leader_epoch: int) -> None:
        """Say that everything before `offset` is done with, and of which epoch the record before it is (-1: unknown).

        The coordinator of the group finds it, also after this process has died.
        """
        store, number = self._mapping.store, self._number + 1
        pair = self._at + layout.SLOT_PAIRS + layout.SLOT_PAIR_BYTES * (number & 1)
        # SYNC POINT cell-pair: pairs with cell-again. Who sees a word of it sees the number of the commit before.
        store(pair, offset)
        store(pair + 8, leader_epoch if leader_epoch >= 0 else _UNKNOWN_EPOCH)
        store(self._at + layout.SLOT_COMMITS, number)  # SYNC POINT cell-commit: pairs with cell-look
        self._number = number

    def note_read(self, stride: int, first: int, end: int) -> None:
        """The consumer got the records from `first` up to, not including, `end`: note when, if a traced one is there.

        A sample of a client is (partition id, first offset, end, nanoseconds of the monotonic clock).
        """
        if (end - 1) // stride * stride >= first:
            self._trace.put(self._partition_id, first, end, monotonic_ns())

    def release(self) -> None:
        """Give the slot back; its commit is nobody's any more."""
        self._mapping.store(self._at + layout.SLOT_PARTITION, 0)


class MemberSlot:
    """When a member of a group asked for records last. The member's process writes it."""

    __slots__ = ("_at", "_mapping")

    def __init__(self, mapping: Mapping, at: int, token: int) -> None:
        self._mapping = mapping
        self._at = at
        claim(mapping, at, layout.SLOT_MEMBER, token, monotonic_ns())

    def note_poll(self, now_ns: int) -> None:
        """The application has just asked, or still waits: now on the monotonic clock."""
        self._mapping.store(self._at + layout.SLOT_POSITION, now_ns)

    def release(self) -> None:
        """Give the slot back."""
        self._mapping.store(self._at + layout.SLOT_PARTITION, 0)
