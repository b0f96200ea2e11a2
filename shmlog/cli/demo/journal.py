"""What consumers made of one partition, in pieces: one for each poll, written before the group commits its offsets.

Whoever takes the partition over begins where the group has committed, and takes back what is written beyond that: a
killed consumer had read it and not committed. So results are exact, although some records are read twice.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import orjson

from shmlog.cli.demo import delays
from shmlog.cli.demo.tally import Tally

LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of the records from `first` up to, not including, `end`."""

    first: int
    end: int
    tally: Tally
    table: delays.DelayTable


class Journal:
    """The file of one partition; at any time one consumer writes it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, directory: Path, partition: int) -> Journal:
        """Where the consumers of one group keep it."""
        return cls(directory / f"partition-{partition}.journal")

    def append(self, piece: Piece) -> None:
        """Write a piece, whole or, if this process is killed over it, not at all."""
        keys = [[key.hex(), chain, piece.tally.counts[key]] for key, chain in piece.tally.chains.items()]
        head = orjson.dumps([piece.first, piece.end, keys, delays.to_message(piece.table)])
        hashes = piece.tally.hashes.tobytes()
        lengths = len(head).to_bytes(LENGTH_BYTES, "big") + len(hashes).to_bytes(LENGTH_BYTES, "big")
        with self._file.open("ab", buffering=0) as stream:
            stream.write(lengths + head + hashes)

    def take_back(self, offset: int) -> None:
        """Forget what begins at `offset` or later, and a piece that a kill has left incomplete."""
        end = 0
        for piece, position in self._pieces():
            if piece.first >= offset:
                break
            end = position
        if self._file.exists():
            with self._file.open("r+b") as stream:
                stream.truncate(end)

    def read(self) -> list[Piece]:
        """All pieces, in order."""
        return [piece for piece, _ in self._pieces()]

    def _pieces(self) -> list[tuple[Piece, int]]:
        """Whole pieces, and where each ends in the file."""
        content = self._file.read_bytes() if self._file.exists() else b""
        found, at = [], 0
        while at + 2 * LENGTH_BYTES <= len(content):
            head_bytes = int.from_bytes(content[at : at + LENGTH_BYTES], "big")
            hash_bytes = int.from_bytes(content[at + LENGTH_BYTES : at + 2 * LENGTH_BYTES], "big")
            begin = at + 2 * LENGTH_BYTES
            at = begin + head_bytes + hash_bytes
            if at > len(content):
                break
            first, end, keys, table = orjson.loads(content[begin : begin + head_bytes])
            tally = Tally(array("q", content[begin + head_bytes : at]))
            tally.chains = {bytes.fromhex(key): chain for key, chain, _ in keys}
            tally.counts = {bytes.fromhex(key): count for key, _, count in keys}
            found.append((Piece(first, end, tally, delays.from_message(table)), at))
        return found


def put_together(pieces: list[Piece]) -> tuple[Tally, list[str]]:
    """The account of a partition, and a sentence for each place where its pieces do not meet."""
    tally, gaps, due = Tally(), [], 0
    for piece in pieces:
        if piece.first != due:
            gaps.append(f"offset {piece.first} came where {due} was due")
        due = piece.end
        tally.follow(piece.tally)
    return tally, gaps
