"""What the demo prints when it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

import click

from shmlog.cli.demo import delays
from shmlog.cli.demo.consumer_kill import ConsumerKill
from shmlog.cli.demo.expectation import Expectation
from shmlog.cli.demo.owner_kill import OwnerKill
from shmlog.cli.demo.replay import Arrival
from shmlog.cli.output import count_of, human_bytes, human_rate, text_table
from shmlog.testing.latency_probe import Latencies

DIFFERENCES_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found."""

    expected: Expectation
    arrival: Arrival
    differences: list[str]
    latencies: Latencies
    with_table: bool

    @property
    def records_per_second(self) -> float:
        return self.arrival.consumed / self.arrival.seconds if self.arrival.seconds else 0.0

    def as_json(self) -> dict[str, object]:
        """The figures by the names that programs rely on."""
        return {
            "records_produced": self.arrival.produced,
            "records_consumed": self.arrival.consumed,
            "mismatches": len(self.differences),
            "seconds": round(self.arrival.seconds, 4),
            "records_per_second": round(self.records_per_second),
            "p50_latency_us": _or_null(self.latencies.microseconds(0.50)),
            "p99_latency_us": _or_null(self.latencies.microseconds(0.99)),
        }

    def print(self) -> None:
        """For people: the table, the figures, the verdict."""
        if self.with_table:
            click.echo(delay_table(self.arrival.table) + "\n")
        volume = human_bytes(self.expected.bytes / self.arrival.seconds) if self.arrival.seconds else "-"
        without_key = f", {self.expected.without_key:,} of them without a key" if self.expected.without_key else ""
        consumed = (
            f"{count_of(self.arrival.consumed, 'record')} in {self.arrival.seconds:.2f} s:"
            f" {human_rate(self.records_per_second)}, {volume}/s from send() to the account"
        )
        latency = (
            f"p50 {self.latencies.microseconds(0.5):,.1f} us, p99 {self.latencies.microseconds(0.99):,.1f} us"
            f" ({count_of(len(self.latencies.sorted_ns), 'paced record')}, each from when it was due)"
        )
        facts = [
            ("produced", f"{count_of(self.arrival.produced, 'record')}{without_key}"),
            ("consumed", consumed),
            ("latency", latency),
        ]
        if self.arrival.consumer_kill is not None:
            facts.append(("consumer", consumer_sentence(self.arrival.consumer_kill)))
        if self.arrival.kill is not None:
            facts.append(("owner", kill_sentence(self.arrival.kill)))
        checked = "offsets dense, order per key, payloads" + (", table" if self.with_table else "")
        verdict = (
            count_of(len(self.differences), "MISMATCH", "MISMATCHES") if self.differences else f"{checked}: all exact"
        )
        facts.append(("verified", verdict))
        for name, text in facts:
            click.echo(f"{name:<10}{text}")
        print_differences(self.differences)


def print_differences(differences: list[str]) -> None:
    """The first few, on standard error."""
    for sentence in differences[:DIFFERENCES_SHOWN_MAX]:
        click.echo(f"mismatch: {sentence}", err=True)
    if len(differences) > DIFFERENCES_SHOWN_MAX:
        click.echo(f"mismatch: and {len(differences) - DIFFERENCES_SHOWN_MAX:,} more", err=True)


def kill_sentence(kill: OwnerKill) -> str:
    """pid, offset, epochs, pause, and what was in flight."""
    return (
        f"pid {kill.pid} of partition {kill.partition} killed at offset {kill.offset:,}:"
        f" epoch {kill.old_epoch} -> {kill.new_epoch}, pause {kill.pause_ms:.1f} ms,"
        f" {count_of(kill.in_flight, 'record')} in flight"
    )


def consumer_sentence(kill: ConsumerKill) -> str:
    """Who was killed, and who joined."""
    return f"pid {kill.pid}, one of a group of {kill.members}, killed; pid {kill.joined_pid} joined"


def delay_table(table: delays.DelayTable) -> str:
    """Flights and average departure delay per carrier, and of all."""
    rows: list[list[object]] = [[carrier, *_cells(row)] for carrier, row in table.items()]
    everything = delays.merge([{"all": row} for row in table.values()])
    rows += [[name, *_cells(row)] for name, row in everything.items()]
    return text_table(["carrier", "flights", "delay unknown", "average delay (min)"], rows)


def _cells(row: delays.CarrierDelay) -> list[object]:
    average = row.average
    return [row.flights, row.flights - row.departed, None if average is None else f"{average:.2f}"]


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
