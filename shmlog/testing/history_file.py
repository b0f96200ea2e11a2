"""What one client did and saw, as a file that survives its SIGKILL: whole entries, each written before what it permits.

    +----------------+----------------+--------+
    | kind | place   | id             | number |     3 x int64, little-endian; kind above 32 bits of place
    +----------------+----------------+--------+

INTENT: `number` records from id on are about to be sent. ACKNOWLEDGED and READ: the record `id` at offset `number` (-1:
not told) of `place`, a number that both sides know a partition by. REFUSED: it will never be there.
What a kill cut off in the middle of an entry was not written, and is passed over.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shmlog.testing.history import NO_KEY, History

ENTRY_BYTES = 24
INTENT, ACKNOWLEDGED, REFUSED, READ = range(4)
KIND_SHIFT = 32
PLACE_MASK = (1 << KIND_SHIFT) - 1


class HistoryFile:
    """Appends to one client's file. Outcomes and reads are collected until write(); an intent is written at once."""

    def __init__(self, path: Path) -> None:
        """Open for appending; what is left of a torn entry at the end is cut off. Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size_bytes = os.fstat(self._fd).st_size // ENTRY_BYTES * ENTRY_BYTES
        os.ftruncate(self._fd, size_bytes)
        os.lseek(self._fd, size_bytes, os.SEEK_SET)
        self._entries = array("q")

    def intend(self, first_id: int, count: int) -> None:
        """Before the operation: `count` records from `first_id` on are about to be sent. In the file on return."""
        self._entries.extend((INTENT << KIND_SHIFT, first_id, count))
        self.write()

    def acknowledge(self, identity: int, place: int, offset: int) -> None:
        """The broker acknowledged the record; `offset` -1: it did not say where."""
        self._entries.extend((ACKNOWLEDGED << KIND_SHIFT | place, identity, offset))

    def refuse(self, identity: int) -> None:
        """The client was told that the record is not and will not be written."""
        self._entries.extend((REFUSED << KIND_SHIFT, identity, 0))

    def read(self, identity: int, place: int, offset: int) -> None:
        """The reader was given this record."""
        self._entries.extend((READ << KIND_SHIFT | place, identity, offset))

    def write(self) -> None:
        """Hand everything to the kernel, which keeps it when this process is killed."""
        left = memoryview(self._entries).cast("B")
        while left:
            left = left[os.write(self._fd, left) :]
        del left
        self._entries = array("q")

    def close(self) -> None:
        """write(), and close the file."""
        self.write()
        os.close(self._fd)


def positions(path: Path) -> dict[int, int]:
    """Where the reader that wrote this file stands: per place the offset after the last one that it was given."""
    kinds, places, _, offsets = _columns(path)
    read = kinds == READ
    return {int(place): int(offsets[read & (places == place)][-1]) + 1 for place in np.unique(places[read])}


def load(history: History, path: Path, reader: int, key_of: Callable[[int], bytes | None]) -> None:
    """Add a file to a history. `reader` is the number of who read; `key_of` gives the key of a record by its id."""
    kinds, places, ids, numbers = _columns(path)
    for first, count in zip(ids[kinds == INTENT].tolist(), numbers[kinds == INTENT].tolist(), strict=True):
        for identity in range(first, first + count):
            key = key_of(identity)
            number = NO_KEY if key is None else history.key_numbers.setdefault(key, len(history.key_numbers))
            history.intended_ids.append(identity)
            history.intended_keys.append(number)
    acked, read = kinds == ACKNOWLEDGED, kinds == READ
    history.acknowledged_ids.frombytes(ids[acked].tobytes())
    history.acknowledged_partitions.frombytes(places[acked].tobytes())
    history.acknowledged_offsets.frombytes(numbers[acked].tobytes())
    history.refused_ids.frombytes(ids[kinds == REFUSED].tobytes())
    history.read_ids.frombytes(ids[read].tobytes())
    history.read_partitions.frombytes(places[read].tobytes())
    history.read_offsets.frombytes(numbers[read].tobytes())
    history.read_readers.extend(array("q", [reader]) * int(read.sum()))


def _columns(path: Path) -> tuple[npt.NDArray[np.int64], ...]:
    """Kinds, places, ids and numbers of the whole entries of a file; empty if there is no such file."""
    content = path.read_bytes() if path.exists() else b""
    entries = np.frombuffer(content, dtype=np.int64, count=len(content) // ENTRY_BYTES * 3).reshape(-1, 3)
    return entries[:, 0] >> KIND_SHIFT, entries[:, 0] & PLACE_MASK, entries[:, 1], entries[:, 2]
