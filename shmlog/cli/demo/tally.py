"""An account of records that is the same on both sides of the log if and only if nothing was changed on the way.

Of every payload a 64-bit hash (their multiset must be equal), of every key a chain over its payloads' hashes in order
(a payload missing, twice, altered or out of order changes the chain).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

MASK = (1 << 63) - 1  # a hash fits a signed column
CHAIN_FACTOR = 6364136223846793005  # Knuth's; odd, so that the order of the links matters

from_bytes = int.from_bytes


@dataclass(slots=True)
class Tally:
    """The account: hashes of all payloads in any order, and one chain and count per key."""

    hashes: array[int] = field(default_factory=lambda: array("q"))
    chains: dict[bytes, int] = field(default_factory=dict)
    counts: dict[bytes, int] = field(default_factory=dict)

    def add(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Account for some records. Records of one key must be added in their order."""
        links = [from_bytes(blake2b(value, digest_size=8).digest(), "little") & MASK for value in values]
        self.hashes.extend(links)
        chains, counts = self.chains, self.counts
        for key, link in zip(keys, links, strict=True):
            if key is None:
                continue
            chain = chains.get(key)
            if chain is None:
                chain = counts[key] = 0
            chains[key] = (chain * CHAIN_FACTOR + link + 1) & MASK
            counts[key] += 1

    def follow(self, later: Tally) -> None:
        """Account for records that came after these, and were accounted for by themselves."""
        self.hashes.extend(later.hashes)
        for key, chain in later.chains.items():
            count = later.counts[key]
            self.chains[key] = (self.chains.get(key, 0) * pow(CHAIN_FACTOR, count, MASK + 1) + chain) & MASK
            self.counts[key] = self.counts.get(key, 0) + count


def compare(expected: Tally, parts: Iterable[Tally]) -> list[str]:
    """One sentence per difference between the file and the partitions' accounts; a key in two of them is one as well.

    Records without a key have no order; they are only part of the multiset.
    """
    import numpy as np

    found = Tally()
    differences = []
    for part in parts:
        found.hashes.extend(part.hashes)
        differences += [f"key {_text(key)} is in two partitions" for key in part.chains if key in found.chains]
        found.chains.update(part.chains)
        found.counts.update(part.counts)
    if not np.array_equal(np.sort(np.array(expected.hashes)), np.sort(np.array(found.hashes))):
        wanted, got = Counter(expected.hashes), Counter(found.hashes)
        differences += ["a payload of the file is missing"] * (wanted - got).total()
        differences += ["a payload is not in the file, or once too often"] * (got - wanted).total()
    for key in expected.chains.keys() | found.chains.keys():
        if expected.chains.get(key) != found.chains.get(key):
            counts = expected.counts.get(key, 0), found.counts.get(key, 0)
            what = (
                "not in the file's order"
                if counts[0] == counts[1]
                else f"{counts[0]} in the file, {counts[1]} in the log"
            )
            differences.append(f"records of key {_text(key)}: {what}")
    return differences


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
