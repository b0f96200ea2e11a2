"""Headers of a record as they stand in a v2 batch."""

from collections.abc import Iterable

def encode_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[int, bytes]:
    """How many there are, and what follows that number in a record. Raises InvalidArgumentError."""
