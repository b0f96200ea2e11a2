"""What is counted: records through the hot paths of one partition in one process, the same instructions every time.

    python program.py MARKS.so DIRECTORY

Each phase runs once unmarked, so that memory is mapped and what is looked up lazily is there, and once marked.
Timestamps are given, nothing waits, and the garbage collector is off.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path

from shmlog.native.records import decode_batches
from shmlog.partition.attachment import MappedPartition
from shmlog.setting import LONG_MAX
from shmlog.testing.partition_rig import TOPIC_NAME, open_rig

RECORDS = 4000
TIMESTAMP_MS = 1_700_000_000_000
READ_BYTES, CHUNKS = 64 * 1024, 8


def main(marks: ctypes.CDLL, directory: Path) -> dict[str, int]:
    """Run every phase with records of 100 bytes; how many records each handled."""
    handled: dict[str, int] = {}

    def count(phase: str, prepare: Callable[[], object], work: Callable[[], int]) -> None:
        prepare()
        work()
        prepare()
        marks.marks_begin()
        handled[phase] = work()
        marks.marks_end(phase.encode())

    values = [b"%08d" % number + b"." * 92 for number in range(RECORDS)]
    times = [TIMESTAMP_MS] * RECORDS
    with open_rig(directory, {"shm.ring.bytes": str(8 << 20)}) as rig:  # nothing is overwritten before it is read
        lane = rig.lane()

        def send() -> int:
            for value in values:
                lane.send(TOPIC_NAME, value, timestamp_ms=TIMESTAMP_MS)
            return RECORDS

        def send_many() -> int:
            return len(lane.send_many(TOPIC_NAME, values, timestamps_ms=times))

        def publish() -> int:
            rig.run()
            return RECORDS

        count("send", publish, send)
        count("send_many", publish, send_many)
        publish()
        count("publish", send, publish)

        partition = MappedPartition(rig.tag, 1)
        partition.renew_ring()
        ring = partition.ring
        assert ring is not None
        chunks: list[bytes] = []

        def read() -> int:
            chunks.clear()
            for _ in range(CHUNKS):
                chunk = ring.read(READ_BYTES)
                assert isinstance(chunk, bytes)
                chunks.append(chunk)
            return 0  # decode counts them

        def decode() -> int:
            decoded = 0
            for chunk in chunks:
                records, *_ = decode_batches(chunk, TOPIC_NAME, 0, 0, LONG_MAX, LONG_MAX, True)
                for record in records:
                    decoded += len(record.value)
            return decoded // len(values[0])

        count("read", lambda: ring.seek(0), read)
        count("decode", lambda: None, decode)
        handled["read"] = handled["decode"]
        partition.close()
    return handled


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(main(ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]))))
