"""The owner's own copy of a batch's records, checked and compressed before any of it is in the ring."""

from collections.abc import Callable

class BatchPacker:
    """Compresses the records of batches that a Publisher takes. A batch that does not get smaller stays as it is."""

    def __init__(self, open_compressor: Callable[[int, int], Callable[[bytes], bytes]]) -> None:
        """`open_compressor` gives for a codec (the number in a batch's attributes) and a level what compresses."""

    def prepare(self, codec: int, level: int) -> None:
        """Before batches come that are to be compressed so; raises what `open_compressor` does. Twice is fine."""
