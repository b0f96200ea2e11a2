"""Producer state between a table in memory and the snapshots beside a log."""

from __future__ import annotations

import struct

from shmlog.log.partition_log import PartitionLog
from shmlog.log.snapshot import ProducerEntry
from shmlog.native.producer_table import ProducerTable

_PRODUCER = struct.Struct("<qhHi" + "qii" * 5 + "q24x")
assert _PRODUCER.size == 128


def last_batches(producers: ProducerTable) -> list[ProducerEntry]:
    """What Kafka keeps of each producer in a snapshot: its last batch."""
    entries = []
    for raw in producers.entries():
        producer_id, epoch, batch_count, _, *rest = _PRODUCER.unpack(raw)
        if batch_count:
            base_offset, last_sequence, delta = rest[3 * (batch_count - 1) : 3 * batch_count]
            entries.append(
                ProducerEntry(producer_id, epoch, last_sequence, base_offset + delta, delta, timestamp_ms=rest[15])
            )
    return entries


def restore_producers(log: PartitionLog, producers: ProducerTable) -> None:
    """Idempotence state at the end of a log that was opened cold: the newest snapshot, then every batch after it."""
    offset, entries = log.latest_snapshot()
    for entry in entries:
        if entry.last_sequence >= 0:
            count = entry.offset_delta + 1
            producers.offer(
                entry.producer_id,
                entry.producer_epoch,
                (entry.last_sequence - entry.offset_delta) & 0x7FFFFFFF,
                count,
                entry.last_offset - entry.offset_delta,
                entry.timestamp_ms,
            )
    for chunk in log.batches(max(offset, log.sealed.first_base_offset)):
        producers.replay(chunk)
