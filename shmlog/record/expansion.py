"""Compressed batches made plain, so that one decoder reads them all; and back, for who writes some of them again.

The one place where readers meet codecs. A plain batch has the offsets, timestamps, counts, producer and flags of the
compressed one, no codec, and a checksum of its own; what is in it is for the decoder to check, as always.
"""

from __future__ import annotations

from shmlog.errors import CorruptRecordError, ShmlogError, UnsupportedCompressionTypeError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.native.checksum import crc32c
from shmlog.native.scan import find_compressed
from shmlog.record import compression, layout
from shmlog.record.header import BatchHeader

RECORDS_BYTES_MAX = MAX_MESSAGE_BYTES_MAX
"""What compressed records may be expanded to: as much as the largest batch that is legal without compression."""


def expand(chunk: bytes, where: str, max_bytes: int, *, check_crcs: bool = True) -> tuple[bytes, int]:
    """The batches at the start of `chunk` without compression, and how many bytes of `chunk` they stand for.

    A chunk without compressed batches comes back as it is, for the price of a look at its headers. Else about
    `max_bytes` are made plain, one batch at least; the rest of the chunk is for another call. Compressed batches have
    their checksums verified (if `check_crcs`) over the compressed bytes; plain ones are left to the decoder.
    Raises CorruptRecordError or UnsupportedCompressionTypeError, naming `where` and the offset, if that concerns the
    first batch; a later one is the first of the next call.
    """
    found_at = find_compressed(chunk, 0)
    if found_at == len(chunk):
        return chunk, len(chunk)
    plain, done = bytearray(chunk[:found_at]), found_at
    while done < len(chunk) and (not plain or len(plain) < max_bytes):
        if found_at == done:
            try:
                header, batch = _expanded(chunk, done, where, check_crcs)
            except ShmlogError:
                if not plain:
                    raise
                break
            plain += batch
            done += header.size_bytes
            found_at = find_compressed(chunk, done)
        else:
            plain += chunk[done:found_at]
            done = found_at
    return bytes(plain), done


def pack(plain: bytes | memoryview, codec: int) -> bytes:
    """A plain batch with its records compressed, as a producer of Kafka's would: at the codec's usual level, and even
    if that makes it larger. Raises UnsupportedCompressionTypeError when the library is missing."""
    header = BatchHeader.parse(plain)
    batch = bytearray(plain[: layout.HEADER_BYTES])
    batch += compression.compress(codec, memoryview(plain)[layout.HEADER_BYTES : header.size_bytes])
    _seal(batch, header.attributes & ~layout.CODEC_MASK | codec)
    return bytes(batch)


def plain_records(batch: bytes | memoryview, header: BatchHeader, at: int = 0) -> bytes | memoryview:
    """The records of the batch at byte `at`, decompressed if it says so; the checksum is not looked at.

    Raises CorruptRecordError or UnsupportedCompressionTypeError; what they say goes behind the batch's name.
    """
    compressed = memoryview(batch)[at + layout.HEADER_BYTES : at + header.size_bytes]
    codec = header.attributes & layout.CODEC_MASK
    return compression.decompress(codec, compressed, RECORDS_BYTES_MAX) if codec else compressed


def _expanded(chunk: bytes, at: int, where: str, check_crcs: bool) -> tuple[BatchHeader, bytearray]:
    header = BatchHeader.parse(chunk, at)
    what = f"{where}: the {header.codec} batch at offset {header.base_offset}"
    if check_crcs and not header.crc_is_valid(chunk, at):
        raise CorruptRecordError(
            f"{where}: the checksum of the batch at offset {header.base_offset} is wrong;"
            " seek past it, or look at it with: shmlog segment verify FILE"
        )
    try:
        records = plain_records(chunk, header, at)
    except UnsupportedCompressionTypeError as error:
        raise UnsupportedCompressionTypeError(f"{what} cannot be read here: {error}") from error
    except CorruptRecordError as error:
        raise CorruptRecordError(
            f"{what} cannot be read, although its checksum is right: {error}; seek past it"
        ) from error
    batch = bytearray(chunk[at : at + layout.HEADER_BYTES])
    batch += records
    _seal(batch, header.attributes & ~layout.CODEC_MASK)
    return header, batch


def _seal(batch: bytearray, attributes: int) -> None:
    """Length, attributes and checksum of a batch that got other bytes as records."""
    layout.LENGTH.pack_into(batch, layout.LENGTH_AT, len(batch) - layout.LENGTH_START)
    layout.ATTRIBUTES.pack_into(batch, layout.ATTRIBUTES_AT, attributes)
    layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(memoryview(batch)[layout.CRC_START :]))
