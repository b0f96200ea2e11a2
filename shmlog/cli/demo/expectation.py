"""What the file says must come out of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from shmlog.cli.demo import delays
from shmlog.cli.demo.source import Source
from shmlog.cli.demo.tally import Tally

CHUNK_RECORDS = 4096


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
    records = source.records()
    while chunk := list(islice(records, CHUNK_RECORDS)):
        keys = [record.key for record in chunk]
        values = [record.value for record in chunk]
        expected.tally.add(keys, values)
        if source.is_flights:
            delays.count_flights(expected.table, values)
        sizes = [len(value) + len(key or b"") for key, value in chunk]
        expected.records += len(chunk)
        expected.without_key += keys.count(None)
        expected.bytes += sum(sizes)
        expected.largest_bytes = max(expected.largest_bytes, *sizes)
    expected.table = delays.merge([expected.table])
    return expected
