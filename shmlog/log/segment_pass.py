"""Going over all batches of sealed segments, in order, with every check there is; compressed ones are made plain.

with a buffer that is used again and again: read a chunk, hand out its plain batches and its compressed ones in turn,
read on behind the last batch that was whole
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shmlog.errors import CorruptRecordError
from shmlog.log.segment import LOG_SUFFIX, segment_path
from shmlog.log.storage import Storage
from shmlog.native.compaction import Walked
from shmlog.native.scan import find_compressed
from shmlog.record.expansion import expand
from shmlog.record.header import BatchHeader

CHUNK_BYTES = 1 << 17

Budget = Callable[[int, int], None]
"""Told of bytes read and of bytes written, a chunk at a time. It may take its time, and raise to stop everything."""


class Taker(Protocol):
    """Who gets the batches."""

    def take(self, data: memoryview, next_offset: int, packed: memoryview | None) -> Walked:
        """Use as many plain batches of `data` as are whole, the first of which follows what ends at `next_offset`; an
        end before that, with nothing said to be wrong, ends the pass. `packed`: the one batch in `data` as it is in the
        file, compressed. Both are overwritten after the call."""


@dataclass(slots=True)
class SegmentPass:
    """One reader with its buffer, for one segment after the other."""

    storage: Storage
    directory: str
    dense_from_offset: int
    """Offsets may be missing before it, and not from it on."""
    budget: Budget
    size_bytes: int = 0
    """Of the last segment's log."""
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(CHUNK_BYTES)))

    def over(self, base_offset: int, end_offset: int, taker: Taker) -> bool:
        """Hand all batches of a segment to `taker`; False when it did not take them all.

        The next segment begins at `end_offset`. Raises CorruptRecordError, naming the file, offset and byte of what
        is not sound or cannot be read; UnsupportedCompressionTypeError; OSError; and what the budget raises.
        """
        path = segment_path(self.directory, base_offset, LOG_SUFFIX)
        fd = self.storage.open(path, os.O_RDONLY)
        try:
            size_bytes = self.size_bytes = self.storage.size_bytes(fd)
            position, next_offset, wanted = 0, base_offset, CHUNK_BYTES
            while position < size_bytes:
                chunk = self._read(fd, path, position, min(max(wanted, CHUNK_BYTES), size_bytes - position))
                done, walked = self._hand_out(chunk, path, position, next_offset, taker)
                next_offset, wanted = walked.next_offset, walked.wanted_bytes
                position += done
                if done < len(chunk) and not wanted:
                    return False
                if wanted > size_bytes - position:
                    raise _unsound(path, next_offset, position, "the file ends inside it")
        finally:
            self.storage.close(fd)
        if next_offset != end_offset and (next_offset > end_offset or end_offset > self.dense_from_offset):
            raise CorruptRecordError(f"{path} ends at offset {next_offset}, and the next file begins at {end_offset}")
        return True

    def _hand_out(
        self, chunk: memoryview, path: str, position: int, next_offset: int, taker: Taker
    ) -> tuple[int, Walked]:
        """The batches of a chunk; returns how many bytes of it were taken, and what was said last."""
        at = 0
        while True:
            compressed_at = find_compressed(chunk, at)
            if compressed_at > at:
                walked = taker.take(chunk[at:compressed_at], next_offset, None)
                done, whole = walked.done_bytes, compressed_at - at
            else:
                packed, plain = self._expand(chunk, at, path, position, next_offset)
                walked = taker.take(memoryview(plain), next_offset, packed)
                done, whole = len(packed) if walked.done_bytes else 0, len(packed)
            if walked.problem:
                raise _unsound(path, walked.next_offset, position + at + done, walked.problem)
            at, next_offset = at + done, walked.next_offset
            if done < whole or at == len(chunk):
                return at, walked

    def _expand(
        self, chunk: memoryview, at: int, path: str, position: int, next_offset: int
    ) -> tuple[memoryview, bytes]:
        try:
            packed = chunk[at : at + BatchHeader.parse(chunk, at).size_bytes]
            plain, _ = expand(bytes(packed), path, 1)
        except CorruptRecordError as error:
            raise _unsound(path, next_offset, position + at, str(error)) from error
        return packed, plain

    def _read(self, fd: int, path: str, position: int, size_bytes: int) -> memoryview:
        if len(self._buffer) < size_bytes:
            self._buffer = memoryview(bytearray(size_bytes))
        chunk = self._buffer[:size_bytes]
        there = self.storage.pread_into(fd, chunk, position)
        if there < size_bytes:
            raise CorruptRecordError(f"{path} became shorter while it was read: {position + there} bytes")
        self.budget(size_bytes, 0)
        return chunk


def _unsound(path: str, offset: int, position: int, problem: str) -> CorruptRecordError:
    return CorruptRecordError(f"{path}: the batch at offset {offset} (byte {position}) is not sound: {problem}")
