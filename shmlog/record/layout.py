"""Where the fields of a v2 record batch lie. Big-endian; the one place in Python that knows the numbers.

0   i64  base offset             patched by the owner, outside the checksum
8   i32  batch length            bytes after this field
12  i32  partition leader epoch  patched by the owner, outside the checksum
16  i8   magic                   2
17  u32  CRC-32C                 of bytes 21 to the end
21  i16  attributes
23  i32  last offset delta       record count - 1 as long as nothing was compacted away
27  i64  base timestamp          milliseconds since 1970
35  i64  max timestamp
43  i64  producer id             -1 without one, as the next two
51  i16  producer epoch
53  i32  base sequence
57  i32  record count
61       records
"""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES: Final = 61
LENGTH_START: Final = 12
"""The batch length counts from here: a batch has LENGTH_START + batch length bytes."""
LENGTH_AT: Final = 8
MAGIC_AT: Final = 16
CRC_AT: Final = 17
CRC_START: Final = 21
"""First byte that the checksum covers."""
ATTRIBUTES_AT: Final = 21
PRODUCER_AT: Final = 43
MAGIC: Final = 2

BASE_OFFSET: Final = struct.Struct(">q")
LENGTH: Final = struct.Struct(">i")
ATTRIBUTES: Final = struct.Struct(">h")
CRC: Final = struct.Struct(">I")

CODEC_MASK: Final = 0x07
CODEC_NAMES: Final = ("none", "gzip", "snappy", "lz4", "zstd")
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
DELETE_HORIZON: Final = 0x40

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1

assert HEADER.size == HEADER_BYTES
