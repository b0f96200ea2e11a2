"""What the file says must come out of the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from shmlog.cli.demo import delays
from shmlog.cli.demo.source import Source
from shmlog.cli.demo.tally import Tally


@dataclass(slots=True)
class Expectation:
    """The account of the whole file, the table of the flights, and the size of the largest record in bytes."""

    tally: Tally = field(default_factory=Tally)
    table: delays.DelayTable = field(default_factory=dict)
    records: int = 0
    without_key: int = 0
    bytes: int = 0
    largest_bytes: int = 0


def read_expectation(source: Source) -> Expectation:
    """Read the file once, in its order."""
    expected = Expectation()
    for key, value in source.records():
        expected.tally.add(key, value)
        if source.is_flights:
            delays.count_flight(expected.table, value)
        size = len(value) + len(key or b"")
        expected.records += 1
        expected.without_key += key is None
        expected.bytes += size
        expected.largest_bytes = max(expected.largest_bytes, size)
    expected.table = delays.merge([expected.table])
    return expected
