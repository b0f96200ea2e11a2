"""The verdict: what arrived is what the file holds, no more, no less, in order."""

from __future__ import annotations

from shmlog.cli.demo import delays, tally
from shmlog.cli.demo.expectation import Expectation
from shmlog.cli.demo.replay import Arrival


def differences(expected: Expectation, arrival: Arrival, *, with_table: bool) -> list[str]:
    """One sentence per difference; empty if everything is exact."""
    found = list(arrival.gaps)
    if arrival.produced != expected.records:
        found.append(f"{expected.records} records in the file, {arrival.produced} were sent")
    if sum(arrival.end_offsets.values()) != expected.records:
        found.append(f"{expected.records} records in the file, {sum(arrival.end_offsets.values())} offsets in the log")
    for partition, end in arrival.end_offsets.items():
        if arrival.next_offsets.get(partition) != end:
            found.append(f"partition {partition}: read up to {arrival.next_offsets.get(partition)}, its end is {end}")
    found += tally.compare(expected.tally, arrival.accounts)
    if with_table:
        found += delays.compare(expected.table, arrival.table)
    return found
