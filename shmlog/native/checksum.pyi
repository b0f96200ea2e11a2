"""CRC-32C of batches and murmur2 of keys."""

def crc32c(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """CRC-32C (Castagnoli) of `data`; pass an earlier result as `value` to go on from there."""

def crc32c_portable(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """The same without the processor's instruction: what machines that lack it run."""

def flavour() -> str:
    """`"instruction"` or `"portable"`: which implementation this machine uses."""

def murmur2(key: bytes) -> int:
    """murmur2 with Kafka's seed, as an unsigned 32-bit number; the partitioner masks its sign bit."""
