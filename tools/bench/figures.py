"""The one object that every benchmark prints: the same keys always, null where a benchmark does not measure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from shmlog.cli.output import print_json, text_table

UNITS = {
    "records_per_second": "records/s, end to end (failover: sent)",
    "megabytes_per_second": "MB/s of payload",
    "producer_ns_per_record": "ns of CPU in the producer process",
    "consumer_ns_per_record": "ns of CPU in the consumer process",
    "owner_ns_per_record": "ns of CPU in the partition's owner",
    "loop_ns": "ns per turn of a bare Python loop (calibration)",
    "copy_gbps": "GB/s of memcpy + CRC + pwrite (calibration)",
    "wake_us": "us, half a futex round trip across cores (calibration)",
    "p50_us": "us from intended send to poll()",
    "p99_us": "us",
    "p999_us": "us",
    "replication_factor": "replicas of each partition",
    "kills": "owners killed with SIGKILL",
    "attempts": "records sent",
    "acks": "records acknowledged",
    "lost": "acknowledged and not in the log",
    "duplicated": "in the log twice",
    "pause_ms_p50": "ms from a kill to the first later record",
    "pause_ms_p99": "ms",
}


@dataclass(slots=True)
class Figures:
    """Rates per second, times in the unit of their names, counts."""

    records_per_second: float | None = None
    megabytes_per_second: float | None = None
    producer_ns_per_record: float | None = None
    consumer_ns_per_record: float | None = None
    owner_ns_per_record: float | None = None
    loop_ns: float | None = None
    copy_gbps: float | None = None
    wake_us: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    replication_factor: int | None = None
    kills: int | None = None
    attempts: int | None = None
    acks: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    pause_ms_p50: float | None = None
    pause_ms_p99: float | None = None

    def print(self, output: str) -> None:
        """As one JSON object, or as a table of what was measured."""
        values = {name: _rounded(value) for name, value in asdict(self).items()}
        if output == "json":
            print_json(values)
            return
        print(text_table(["figure", "value", ""], [[n, v, UNITS[n]] for n, v in values.items() if v is not None]))


def _rounded(value: float | None) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    if math.isnan(value):
        return None
    return round(value) if value >= 1000 else round(value, 2)
