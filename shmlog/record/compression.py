"""Kafka's codecs for the records of a batch: gzip, snappy in xerial's framing, LZ4 frames, Zstandard frames.

gzip is zlib's and always there. The others come from cramjam, which is an optional extra: it is imported when a codec
that needs it is used for the first time. Nothing here believes a length that stands in compressed bytes.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shmlog.errors import CorruptRecordError, InvalidRequestError, UnsupportedCompressionTypeError
from shmlog.record import layout

if TYPE_CHECKING:
    import types

    from shmlog.settings import TopicConfig

Bytes = bytes | bytearray | memoryview

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(len(layout.CODEC_NAMES))


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of a codec as Kafka counts them, both ends allowed, and what Kafka takes without a setting."""

    lowest: int
    highest: int
    default: int


LEVELS: Final = {GZIP: Levels(-1, 9, -1), LZ4: Levels(1, 17, 9), ZSTD: Levels(-131_072, 22, 3)}
"""By codec; snappy has none. gzip: -1 is zlib's own default. LZ4: 9 is its fast compressor, every other number its slow
and strong one, which gets no stronger above 12."""
LEVEL_MIN: Final = min(levels.lowest for levels in LEVELS.values())
LEVEL_MAX: Final = max(levels.highest for levels in LEVELS.values())
"""No codec takes others; who asks for one that its own codec does not have gets its nearest."""

_NO_LEVELS: Final = Levels(0, 0, 0)
_GZIP_CONTAINER: Final = 31  # zlib's largest window, and a gzip header and trailer around it
_XERIAL_HEADER: Final = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)  # magic, version, oldest version that can read it
_XERIAL_MAGIC_BYTES: Final = 8
_XERIAL_BLOCK_BYTES: Final = 32 * 1024
_BLOCK_LENGTH: Final = struct.Struct(">i")
_LZ4_FAST: Final = 0
_LZ4_STRONG_MIN: Final = 3  # the library takes what is less for the fast compressor
_GUESS_FACTOR: Final = 16  # how much larger than what they are compressed to records are expected to be
_GUESS_BYTES_MIN: Final = 16 * 1024


AS_PRODUCED: Final = -1
"""In the place of a topic's codec: each batch as its producer wants it."""


def topic_compression(config: TopicConfig) -> tuple[int, int]:
    """The codec and level that a topic prescribes; AS_PRODUCED if it does not."""
    name = config.compression_type
    if name == "producer":
        return AS_PRODUCED, 0
    return codec_named("none" if name == "uncompressed" else name), int(getattr(config, f"compression_{name}_level", 0))


def check_topic(config: TopicConfig) -> None:
    """Raises UnsupportedCompressionTypeError when this process cannot do what a topic prescribes."""
    codec, _ = topic_compression(config)
    if codec == AS_PRODUCED:
        return
    try:
        check_available(codec)
    except UnsupportedCompressionTypeError as error:
        raise UnsupportedCompressionTypeError(f"compression.type={config.compression_type}: {error}") from error


def codec_named(name: str) -> int:
    """The codec by Kafka's name. Raises InvalidRequestError for any other."""
    if name not in layout.CODEC_NAMES:
        raise InvalidRequestError(f"compression.type must be one of {', '.join(layout.CODEC_NAMES)}, not {name[:40]!r}")
    return layout.CODEC_NAMES.index(name)


def name_of(codec: int) -> str:
    """Kafka's name of a codec, for sentences."""
    return layout.CODEC_NAMES[codec] if 0 <= codec < len(layout.CODEC_NAMES) else f"unknown codec {codec}"


def check_available(codec: int) -> None:
    """Raises UnsupportedCompressionTypeError, which says what to install, when this process cannot use a codec."""
    if not NONE <= codec <= ZSTD:
        raise UnsupportedCompressionTypeError(
            f"codec {codec} is none that this version of shmlog knows ({', '.join(layout.CODEC_NAMES)})"
        )
    if codec in (SNAPPY, LZ4, ZSTD):
        _cramjam(codec)


def compressor(codec: int, level: int | None = None) -> Callable[[Bytes], bytes]:
    """A function that compresses the records of one batch. `level` counts as Kafka does; None: Kafka's default.

    Raises UnsupportedCompressionTypeError when the library is missing.
    """
    check_available(codec)
    levels = LEVELS.get(codec, _NO_LEVELS)
    level = levels.default if level is None else min(max(level, levels.lowest), levels.highest)
    if codec == GZIP:
        return lambda data: zlib.compress(data, level, _GZIP_CONTAINER)
    if codec == SNAPPY:
        return _compress_snappy
    if codec == LZ4:
        strength = _LZ4_FAST if level == LEVELS[LZ4].default else max(level, _LZ4_STRONG_MIN)
        return lambda data: _compress_lz4(data, strength)
    if codec == ZSTD:
        zstd = _cramjam(codec).zstd
        return lambda data: bytes(zstd.compress(data, level=level))
    return bytes


def compress(codec: int, data: Bytes, level: int | None = None) -> bytes:
    """The records of a batch, compressed; see compressor()."""
    return compressor(codec, level)(data)


def decompress(codec: int, data: Bytes, limit_bytes: int) -> bytes:
    """What was compressed to `data`, if it is no more than `limit_bytes`.

    Raises CorruptRecordError for damage and for more than the limit, before the memory for it is taken;
    UnsupportedCompressionTypeError when the library is missing.
    """
    check_available(codec)
    if codec == GZIP:
        return _decompress_gzip(data, limit_bytes)
    if codec == SNAPPY:
        return _decompress_snappy(data, limit_bytes)
    if codec in (LZ4, ZSTD):
        library = _cramjam(codec)
        into = library.lz4.decompress_into if codec == LZ4 else library.zstd.decompress_into
        return _decompress_into(into, name_of(codec), data, limit_bytes)
    if len(data) > limit_bytes:
        raise _too_large(name_of(codec), limit_bytes)
    return bytes(data)


# --- codec by codec ---------------------------------------------------------------------------------------------------


def _decompress_gzip(data: Bytes, limit_bytes: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_CONTAINER)
    try:
        records = stream.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise CorruptRecordError(f"its gzip stream is damaged: {error}") from error
    if len(records) > limit_bytes:
        raise _too_large("gzip", limit_bytes)
    if not stream.eof or stream.unused_data:
        raise CorruptRecordError(
            f"its gzip stream is damaged: {len(stream.unused_data)} bytes follow its end"
            if stream.eof
            else "its gzip stream is damaged: it ends too early"
        )
    return records


def _compress_snappy(data: Bytes) -> bytes:
    compress_raw = _cramjam(SNAPPY).snappy.compress_raw
    whole = memoryview(data)
    blocks = bytearray(_XERIAL_HEADER)
    for at in range(0, len(whole), _XERIAL_BLOCK_BYTES):
        block = memoryview(compress_raw(whole[at : at + _XERIAL_BLOCK_BYTES]))
        blocks += _BLOCK_LENGTH.pack(len(block))
        blocks += block
    return bytes(blocks)


def _decompress_snappy(data: Bytes, limit_bytes: int) -> bytes:
    """Blocks in xerial's framing; without its header all is one raw block, as older clients wrote it."""
    whole = memoryview(data)
    if whole[:_XERIAL_MAGIC_BYTES] != _XERIAL_HEADER[:_XERIAL_MAGIC_BYTES]:
        return _decompress_snappy_block(whole, limit_bytes, limit_bytes)
    at = len(_XERIAL_HEADER)
    if len(whole) < at:
        raise CorruptRecordError("its snappy blocks are damaged: they end in their header")
    records = bytearray()
    while at < len(whole):
        if len(whole) - at < _BLOCK_LENGTH.size:
            raise CorruptRecordError(f"its snappy blocks are damaged: {len(whole) - at} bytes follow the last one")
        (length,) = _BLOCK_LENGTH.unpack_from(whole, at)
        at += _BLOCK_LENGTH.size
        if not 0 < length <= len(whole) - at:
            raise CorruptRecordError(f"its snappy blocks are damaged: one claims {length} of {len(whole) - at} bytes")
        records += _decompress_snappy_block(whole[at : at + length], limit_bytes - len(records), limit_bytes)
        at += length
    return bytes(records)


def _decompress_snappy_block(block: memoryview, room_bytes: int, limit_bytes: int) -> bytes:
    library = _cramjam(SNAPPY)
    try:
        if library.snappy.decompress_raw_len(block) > room_bytes:
            raise _too_large("snappy", limit_bytes)
        return bytes(library.snappy.decompress_raw(block))
    except library.DecompressionError as error:
        raise CorruptRecordError(f"its snappy blocks are damaged: {error}") from error


def _compress_lz4(data: Bytes, strength: int) -> bytes:
    """One frame whose blocks do not refer to each other: Kafka reads no others."""
    frame = _cramjam(LZ4).lz4.Compressor(level=strength, content_checksum=False, block_linked=False)
    frame.compress(bytes(data))
    return bytes(frame.finish())


def _decompress_into(decompress: Callable[[Bytes, bytearray], int], name: str, data: Bytes, limit_bytes: int) -> bytes:
    """Into memory that is guessed from what there is, and then larger, up to the limit and not beyond it."""
    room_bytes = min(limit_bytes, max(_GUESS_FACTOR * len(data), _GUESS_BYTES_MIN))
    while True:
        records = bytearray(room_bytes)
        try:
            size_bytes = decompress(data, records)
        except _cramjam_error() as error:  # the library has one error for damage and for too little room
            if room_bytes < limit_bytes:
                room_bytes = min(limit_bytes, room_bytes * _GUESS_FACTOR)
                continue
            raise CorruptRecordError(
                f"its {name} frame is damaged, or holds more than {limit_bytes} bytes, the most a batch may have:"
                f" {error}"
            ) from error
        return bytes(memoryview(records)[:size_bytes])


# --- the library ------------------------------------------------------------------------------------------------------


def _cramjam(codec: int) -> types.ModuleType:
    try:
        import cramjam
    except ImportError as error:
        raise UnsupportedCompressionTypeError(
            f"{name_of(codec)} needs the package cramjam, which is not installed here: {sys.executable} -m pip install"
            " cramjam (or shmlog's extra `compression`)"
        ) from error
    return cramjam


def _cramjam_error() -> type[Exception]:
    import cramjam

    return cramjam.DecompressionError


def _too_large(name: str, limit_bytes: int) -> CorruptRecordError:
    return CorruptRecordError(f"its {name} stream holds more than {limit_bytes} bytes, the most a batch may have")
