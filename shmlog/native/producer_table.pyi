"""What an owner remembers of its producers, and the images of it that outlive the owner."""

from collections.abc import Iterable

from shmlog.native.mapping import Mapping

class ProducerTable:
    """Kafka's idempotence rules over all producers of a partition: epoch and last five batches of each.

    The compiled twin of machines/producer_state.py, which says who is forgotten when there are too many. Entries
    are 128 bytes (native/producers.h).
    """

    image_turn: int

    def offer(
        self, producer_id: int, epoch: int, base_sequence: int, count: int, base_offset: int, timestamp_ms: int = -1
    ) -> tuple[str, int]:
        """Check a batch and, if it is "new", remember it at `base_offset` with its largest timestamp.

        Returns ("new" | "duplicate" | "fenced" | "gap", the base offset of the first one for a duplicate, else -1).
        """

    def find(self, producer_id: int, epoch: int, base_sequence: int, count: int) -> int:
        """The base offset of a batch that is among the last five of its producer; -1 if it is not."""

    def hold(self, producer_id: int) -> None:
        """The producer has a lane, or one more, and is remembered until release() was called as often. -1: nobody."""

    def release(self, producer_id: int) -> None:
        """One of its lanes is gone. Without any it is forgotten when room is needed and all others wrote after it."""

    def restore_image(self, control: Mapping) -> int | None:
        """Load the newest whole image of a ctl region; returns the ring position up to which it counts, or None."""

    def replay(self, batches: bytes | bytearray | memoryview) -> int:
        """Learn from the headers of whole batches; returns their bytes. CorruptRecordError if they are not whole."""

    def entries(self) -> list[bytes]: ...
    def restore(self, entries: Iterable[bytes]) -> None: ...
