"""What clients did and saw, as columns: intents before the operation, outcomes after it, and reads.

A record is named by its producer (a small number) and that producer's sequence number, both chosen by the test and
carried in the payload; the broker's own producer ids and sequences play no part, so a broker that lies is caught.
An intent without an outcome is an operation whose outcome is unknown: the record may be there or not, but once.

    history = History()
    history.intend(producer=0, sequence=7, key=b"AA")
    history.acknowledge(producer=0, sequence=7, partition=2, offset=41)     # or refuse(...), or nothing
    history.read(reader=0, partition=2, offset=41, producer=0, sequence=7)
    history.finish(reader=0, partition=2)                                   # it says that it has read to the end
    verdict = check_history(history)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

SEQUENCE_BITS = 44
SEQUENCE_MAX = (1 << SEQUENCE_BITS) - 1
PRODUCER_MAX = (1 << (63 - SEQUENCE_BITS)) - 1
NO_KEY = -1


def record_id(producer: int, sequence: int) -> int:
    """One number for a record: the producer above, its sequence below."""
    if not 0 <= sequence <= SEQUENCE_MAX or not 0 <= producer <= PRODUCER_MAX:
        raise ValueError(
            f"producer {producer} or sequence {sequence} is out of range (max {PRODUCER_MAX}, {SEQUENCE_MAX})"
        )
    return producer << SEQUENCE_BITS | sequence


def name_of(identity: int) -> str:
    """The words for a record id in a verdict."""
    return f"producer {identity >> SEQUENCE_BITS} sequence {identity & SEQUENCE_MAX}"


class History:
    """Columns of int64, appended by the clients in the order in which things happened to each of them.

    `complete` says that the readers together read every partition from its first record to its end; only then can a
    missing record be called lost. `finished` holds who says of itself to have read which partition to its end.
    `partition_names` and `reader_names` give the numbers words, for the sentences of a verdict.
    """

    def __init__(self, *, complete: bool = True) -> None:
        self.complete = complete
        self.intended_ids = array("q")
        self.intended_keys = array("q")  # numbers of keys, NO_KEY for a null key
        self.acknowledged_ids = array("q")
        self.acknowledged_partitions = array("q")
        self.acknowledged_offsets = array("q")  # -1 where the client was not told (acks=0)
        self.refused_ids = array("q")
        self.read_readers = array("q")
        self.read_partitions = array("q")
        self.read_offsets = array("q")
        self.read_ids = array("q")
        self.key_numbers: dict[bytes, int] = {}
        self.finished: set[tuple[int, int]] = set()
        self.partition_names: dict[int, str] = {}
        self.reader_names: dict[int, str] = {}

    def intend(self, producer: int, sequence: int, key: bytes | None = None) -> None:
        """Before the operation: this record is about to be sent."""
        self.intended_ids.append(record_id(producer, sequence))
        self.intended_keys.append(NO_KEY if key is None else self.key_numbers.setdefault(key, len(self.key_numbers)))

    def acknowledge(self, producer: int, sequence: int, partition: int, offset: int) -> None:
        """After it: the broker acknowledged the record, at this place."""
        self.acknowledged_ids.append(record_id(producer, sequence))
        self.acknowledged_partitions.append(partition)
        self.acknowledged_offsets.append(offset)

    def refuse(self, producer: int, sequence: int) -> None:
        """After it: the client was told that the record was not written, so it must never be read."""
        self.refused_ids.append(record_id(producer, sequence))

    def read(self, reader: int, partition: int, offset: int, producer: int, sequence: int) -> None:
        """A reader was given this record."""
        self.read_readers.append(reader)
        self.read_partitions.append(partition)
        self.read_offsets.append(offset)
        self.read_ids.append(record_id(producer, sequence))

    def finish(self, reader: int, partition: int) -> None:
        """A reader says that it has read a partition to its end: what others found there, it must have been given."""
        self.finished.add((reader, partition))

    def intend_range(self, producer: int, sequences: range) -> None:
        """Many intents of null-key records at once."""
        first = record_id(producer, sequences.start)
        self.intended_ids.extend(array("q", range(first, first + len(sequences))))
        self.intended_keys.extend(array("q", [NO_KEY]) * len(sequences))

    def acknowledge_range(self, producer: int, sequences: range, partition: int) -> None:
        """Many acknowledgements at once of which nobody noted the offsets."""
        first = record_id(producer, sequences.start)
        self.acknowledged_ids.extend(array("q", range(first, first + len(sequences))))
        self.acknowledged_partitions.extend(array("q", [partition]) * len(sequences))
        self.acknowledged_offsets.extend(array("q", [-1]) * len(sequences))

    def read_columns(self, reader: int, partition: int, offsets: Iterable[int], ids: Iterable[int]) -> None:
        """Many reads of one partition at once, in the order in which they were read."""
        before = len(self.read_offsets)
        self.read_offsets.extend(offsets)
        self.read_ids.extend(ids)
        count = len(self.read_offsets) - before
        if len(self.read_ids) - before != count:
            raise ValueError("offsets and ids are not of the same length")
        self.read_readers.extend(array("q", [reader]) * count)
        self.read_partitions.extend(array("q", [partition]) * count)
