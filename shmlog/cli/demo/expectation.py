"""What the file says must come out of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from shmlog.cli.demo import delays
from shmlog.cli.demo.source import Source, producer_of
from shmlog.cli.demo.tally import Tally

CHUNK_RECORDS = 4096


@dataclass(slots=True)
class Expectation:
    """The account of the whole file, the table of the flights, how many records each producer has to send, sizes."""

    tally: Tally = field(default_factory=Tally)
    table: delays.DelayTable = field(default_factory=dict)
    records: int = 0
    shares: list[int] = field(default_factory=list)
    without_key: int = 0
    bytes: int = 0
    largest_bytes: int = 0


def read_expectation(source: Source, producers: int = 1) -> Expectation:
    """Read the file once, in its order."""
    expected = Expectation(shares=[0] * producers)
    records = source.records()
    while chunk := list(islice(records, CHUNK_RECORDS)):
        keys = [record.key for record in chunk]
        values = [record.value for record in chunk]
        expected.tally.add(keys, values)
        if source.is_flights:
            delays.count_flights(expected.table, values)
        for number, key in enumerate(keys, expected.records):
            expected.shares[producer_of(number, key, producers)] += 1
        sizes = [len(value) + len(key or b"") for key, value in chunk]
        expected.records += len(chunk)
        expected.without_key += keys.count(None)
        expected.bytes += sum(sizes)
        expected.largest_bytes = max(expected.largest_bytes, *sizes)
    expected.table = delays.merge([expected.table])
    return expected
