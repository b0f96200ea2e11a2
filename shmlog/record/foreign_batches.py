"""Batches of another cluster, made fit for a log of this one.

Producer ids go: a cluster hands out its own, so who gets one here may be taken for its namesake there, and what it
sends for sent before. Offsets, times, leader epochs, codecs and records stay as they are.
"""

from __future__ import annotations

import struct
from typing import Final

from shmlog.errors import CorruptRecordError, InvalidRequestError
from shmlog.native.checksum import crc32c
from shmlog.record import layout
from shmlog.record.header import BatchHeader

_PRODUCER: Final = struct.Struct(">qhi")
_NO_PRODUCER: Final = _PRODUCER.pack(layout.NO_PRODUCER_ID, layout.NO_PRODUCER_EPOCH, layout.NO_SEQUENCE)


def without_producers(batches: bytes, where: str) -> tuple[bytearray, list[BatchHeader]]:
    """The same batches, of nobody, and their headers as they were.

    Raises CorruptRecordError, naming `where` and the offset, for what is no whole batch or has a wrong checksum,
    InvalidRequestError for batches of transactions: whether those were committed nobody would know here.
    """
    made, headers, at = bytearray(batches), [], 0
    while at < len(made):
        try:
            header = BatchHeader.parse(batches, at)
        except CorruptRecordError as error:
            raise CorruptRecordError(f"{where}: {error}") from error
        if not header.crc_is_valid(batches, at):
            raise CorruptRecordError(f"{where}: the batch at offset {header.base_offset} is damaged")
        if header.is_transactional or header.is_control:
            raise InvalidRequestError(
                f"{where}: offset {header.base_offset} is part of a transaction; these cannot be taken"
            )
        if header.producer_id != layout.NO_PRODUCER_ID:
            made[at + layout.PRODUCER_AT : at + layout.PRODUCER_AT + len(_NO_PRODUCER)] = _NO_PRODUCER
            checked = memoryview(made)[at + layout.CRC_START : at + header.size_bytes]
            layout.CRC.pack_into(made, at + layout.CRC_AT, crc32c(checked))
            checked.release()
        headers.append(header)
        at += header.size_bytes
    return made, headers
