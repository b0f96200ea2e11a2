"""A producer that means harm: it has its own lane mapped for writing, and writes anything into it.

What it writes is drawn from a seeded generator and looks mostly right, because bytes that are wrong everywhere are
refused at the first check: real frames with one lie in them, words that are off by a little, records whose lengths,
deltas and counts disagree, and now and then noise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Final

from shmlog.memory import layout
from shmlog.native.mapping import Mapping
from shmlog.record.varint import append_varint

U64: Final = 1 << 64
EDGES: Final = (0, 1, 2, 6, 7, 8, 63, 64, 65, 0x7F, 0x80, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
                1 << 32, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, U64 - 64, U64 - 8, U64 - 1)  # fmt: skip
_FRAME: Final = struct.Struct("<IIqqqiHHIIqq")
assert _FRAME.size == layout.FRAME_BYTES


class HostileLane:
    """One lane, written to by nobody else. `strike` does one hostile thing; `scribble` overwrites a cell or a few."""

    def __init__(self, mapping: Mapping, max_batch_bytes: int, random: Random) -> None:
        self._mapping = mapping
        self._data_bytes = mapping.size_bytes - layout.LANE_DATA
        self._max_batch_bytes = max_batch_bytes
        self._random = random
        self._sequence = 0

    def strike(self) -> None:
        deeds: list[Callable[[], None]] = [self.offer_open, self.offer_open, self.offer_closed, self.scribble]
        self._random.choice(deeds)()

    def offer_open(self) -> None:
        """A batch that is open at the owner's cursor: its word may lie about length and count."""
        records, count = self._records()
        start = self._near(self._cursor())
        end = self._lie(layout.FRAME_BYTES + len(records), 20)
        self._write_frame(start, end, count, records)
        closed = int(self._random.random() < 0.2)
        self._mapping.store(layout.LANE_OPEN, _word(start, closed, end, self._lie(count, 18)))

    def offer_closed(self) -> None:
        """Some closed frames in a row, and a word behind them with nothing open."""
        pos = self._near(self._cursor())
        for _ in range(self._random.randint(1, 4)):
            records, count = self._records()
            end = self._lie(layout.FRAME_BYTES + len(records), 32)
            self._write_frame(pos, end, self._lie(count, 32), records)
            pos += (layout.FRAME_BYTES + len(records) + 7) & ~7
        self._mapping.store(layout.LANE_OPEN, _word(self._near(pos), 1, 0, 0))

    def scribble(self) -> None:
        """Noise: in a cell of the lane's first page, in its frames, or over a stretch of it."""
        random = self._random
        where = random.randrange(4)
        if where == 0:
            cells = (layout.LANE_OPEN, layout.LANE_HEAD, layout.LANE_STATE, layout.LANE_ERROR, layout.LANE_FREE,
                     layout.LANE_LINGER_US)  # fmt: skip
            self._mapping.store(random.choice(cells), self._edge())
        elif where == 1:
            self._mapping.store(random.randrange(0, layout.LANE_DATA, 8), self._edge())
        elif where == 2:
            frame = layout.LANE_DATA + self._cursor() % self._data_bytes & ~7
            self._mapping.store(frame + random.randrange(0, 256, 8), self._edge())
        else:
            at = random.randrange(0, self._mapping.size_bytes - 64, 8)
            self._mapping.write(at, random.randbytes(random.randint(1, 64)))

    # --- what looks almost right --------------------------------------------------------------------------------------

    def _records(self) -> tuple[bytes, int]:
        """Encoded records and how many there are; one of them may be a lie."""
        count = self._random.randint(1, 6)
        liar = self._random.randrange(2 * count)
        return b"".join(self._record(k, lies=k == liar) for k in range(count)), count

    def _record(self, index: int, *, lies: bool) -> bytes:
        random = self._random
        value = b"hostile " + random.randbytes(random.randint(0, 40))
        lie = random.randrange(8) if lies else -1
        fields = [
            self._signed_edge() if lie == 0 else 0,  # timestamp delta
            self._signed_edge() if lie == 1 else index,
            self._signed_edge() if lie == 2 else -1,  # key length
            self._signed_edge() if lie == 3 else len(value),
        ]
        headers = self._signed_edge() if lie == 4 else 0
        body = bytearray(1)
        for field in fields:
            append_varint(body, field)
        body += value
        append_varint(body, headers)
        if lie == 5:
            del body[random.randrange(len(body)) :]
        record = bytearray(b"\xff" * random.randint(1, 11)) if lie == 7 else bytearray()
        append_varint(record, self._signed_edge() if lie == 6 else len(body))
        return bytes(record + body)

    def _write_frame(self, pos: int, end: int, count: int, records: bytes) -> None:
        random = self._random
        timestamp = random.choice((0, 1_700_000_000_000, self._signed_edge()))
        frame = _FRAME.pack(
            end & 0xFFFFFFFF,
            count & 0xFFFFFFFF,
            timestamp,
            timestamp,
            random.choice((timestamp, self._signed_edge())),
            random.choice((-1, self._sequence & 0x7FFFFFFF, random.randrange(-(1 << 31), 1 << 31))),
            random.choice((0,) * 12 + (1, 2, 0xFFFF)),
            0,
            random.randrange(4),
            0,
            0,
            0,
        )
        at = layout.LANE_DATA + (pos % self._data_bytes & ~7)
        self._mapping.write(at, (frame + records)[: 2 * self._data_bytes - at])
        self._sequence += count

    def _cursor(self) -> int:
        return self._mapping.load(layout.LANE_HEAD)

    def _near(self, pos: int) -> int:
        """Mostly `pos`; or a little beside it, or a lane further on."""
        random = self._random
        if random.random() < 0.8:
            return pos
        return (pos + random.choice((8, -8, 64, self._data_bytes, -self._data_bytes, 1 << 27, self._edge()))) % U64

    def _lie(self, number: int, bits: int) -> int:
        """Mostly the truth."""
        random = self._random
        if random.random() < 0.7:
            return number
        largest = self._max_batch_bytes - 61 + layout.FRAME_BYTES
        lies = (number - 1, number + 1, number + 8, largest, largest + 1, (1 << bits) - 8, random.getrandbits(bits))
        return random.choice((*lies, self._edge())) % (1 << bits)

    def _edge(self) -> int:
        random = self._random
        return random.choice((*EDGES, random.getrandbits(64), random.getrandbits(20), self._data_bytes))

    def _signed_edge(self) -> int:
        edge = self._edge()
        return edge - U64 if edge >= U64 // 2 else edge


def _word(start: int, closed: int, end: int, count: int) -> int:
    return (
        ((start >> 3) & ((1 << 25) - 1)) << 39 | closed << 38 | (end & ((1 << 20) - 1)) << 18 | count & ((1 << 18) - 1)
    )
