"""What the demo's consumers work out: flights and average departure delay per carrier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(slots=True)
class CarrierDelay:
    """Of one carrier: all flights, those that have a delay, and the sum of their delays in minutes."""

    flights: int = 0
    departed: int = 0
    delay_minutes: int = 0

    @property
    def average(self) -> float | None:
        """Minutes per departed flight; None if none departed."""
        return self.delay_minutes / self.departed if self.departed else None


DelayTable = dict[str, CarrierDelay]


def count_flights(table: DelayTable, values: Iterable[bytes]) -> None:
    """Add some flights; one without a delay (it never left) is counted and excluded from the average."""
    for flight in map(orjson.loads, values):
        carrier = flight["carrier"]
        row = table.get(carrier)
        if row is None:
            row = table[carrier] = CarrierDelay()
        row.flights += 1
        delay = flight["dep_delay"]
        if delay is not None:
            row.departed += 1
            row.delay_minutes += delay


def merge(tables: Iterable[DelayTable]) -> DelayTable:
    """The sum of several consumers' tables, ordered by carrier."""
    total: DelayTable = {}
    for table in tables:
        for carrier, part in table.items():
            row = total.setdefault(carrier, CarrierDelay())
            row.flights += part.flights
            row.departed += part.departed
            row.delay_minutes += part.delay_minutes
    return dict(sorted(total.items()))


def to_message(table: DelayTable) -> dict[str, list[int]]:
    """The table as JSON can carry it."""
    return {carrier: [row.flights, row.departed, row.delay_minutes] for carrier, row in table.items()}


def from_message(message: dict[str, Any]) -> DelayTable:
    """The reverse of to_message."""
    return {carrier: CarrierDelay(*numbers) for carrier, numbers in message.items()}


def compare(expected: DelayTable, found: DelayTable) -> list[str]:
    """One sentence per carrier whose row differs."""
    return [
        f"carrier {carrier}: {expected.get(carrier)} in the file, {found.get(carrier)} by the consumers"
        for carrier in sorted(expected.keys() | found.keys())
        if expected.get(carrier) != found.get(carrier)
    ]
