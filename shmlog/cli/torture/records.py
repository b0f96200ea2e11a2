"""What the records of a torture look like: everything about one follows from its id, so every reader can check it."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from shmlog.model import TopicPartition
from shmlog.testing.history import PRODUCER_MAX, record_id

IDENTITY = struct.Struct("<q")
KEYS_PER_TOPIC = 24
NULL_KEYS = 6  # of each KEYS_PER_TOPIC
TOPIC_RUN = 32  # so many ids in a row go to one topic
SMALL_BYTES = 200
LARGE_EVERY = 32  # one in so many is larger than SMALL_BYTES
FILLER_BYTES = 1 << 20
GARBLED_PRODUCER = PRODUCER_MAX
"""What is no record of ours is entered under this producer, who never intended anything."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Topics with their numbers of partitions, and the largest value; the same in every process of one torture."""

    topics: Mapping[str, int]
    bytes_max: int
    filler: bytes
    names: tuple[str, ...]

    @classmethod
    def of(cls, topics: Mapping[str, int], bytes_max: int) -> Recipe:
        filler = random.Random(0).randbytes(min(FILLER_BYTES, 2 * bytes_max + 8))
        return cls(dict(topics), bytes_max, filler, tuple(topics))

    def topic_of(self, identity: int) -> str:
        """Which topic the record goes to."""
        return self.names[_mixed(identity // TOPIC_RUN) % len(self.names)]

    def key_of(self, identity: int) -> bytes | None:
        """Its key, which names its topic, or None."""
        number = (_mixed(identity) >> 8) % KEYS_PER_TOPIC
        return None if number < NULL_KEYS else b"%s/%d" % (self.topic_of(identity).encode(), number)

    def value_of(self, identity: int) -> bytes:
        """Its id, and filler of a length and from a place that follow from it."""
        chance = _mixed(identity) >> 16
        largest = self.bytes_max if chance % LARGE_EVERY == 0 else min(SMALL_BYTES, self.bytes_max)
        size_bytes = chance // LARGE_EVERY % max(1, largest - IDENTITY.size + 1)
        start = chance % max(1, len(self.filler) - size_bytes)
        return IDENTITY.pack(identity) + self.filler[start : start + size_bytes]

    def identify(self, topic: str, offset: int, key: bytes | None, value: bytes | None) -> int:
        """The id of a record that was read; one of GARBLED_PRODUCER if a byte of it is not as it was sent."""
        if value is not None and len(value) >= IDENTITY.size:
            identity: int = IDENTITY.unpack_from(value)[0]
            if (
                identity >= 0
                and value == self.value_of(identity)
                and key == self.key_of(identity)
                and topic == self.topic_of(identity)
            ):
                return identity
        return record_id(GARBLED_PRODUCER, offset)

    def places(self) -> list[TopicPartition]:
        """All partitions, in the order of their numbers in the histories."""
        return [TopicPartition(topic, number) for topic, count in self.topics.items() for number in range(count)]


def _mixed(identity: int) -> int:
    """Neighbouring ids give unlike numbers below 2^48 (Fibonacci hashing)."""
    return (identity * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 16
