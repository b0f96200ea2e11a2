"""`shmlog demo`: everything once, on real data, in one command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

import shmlog
from shmlog.cli.demo.expectation import Expectation, read_expectation
from shmlog.cli.demo.flights import InputError, find_file
from shmlog.cli.demo.owner_kill import OwnerSurvivedError, count_in_flight
from shmlog.cli.demo.progress import LiveProgress, NoProgress, progress_for_terminal
from shmlog.cli.demo.replay import Arrival, Plan, Replay
from shmlog.cli.demo.report import Report, kill_sentence, print_differences
from shmlog.cli.demo.source import Source
from shmlog.cli.demo.verification import differences
from shmlog.cli.output import output_option, print_json
from shmlog.errors import ShmlogError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.testing.latency_probe import Latencies, LatencyPlan, measure

TOPIC = "flights"
OWN_TOPIC = "input"
LATENCY_TOPIC = "latency"
MAX_MESSAGE_BYTES = 262_144  # small rings and lanes: the demo runs in a /dev/shm of 64 MB
RECORD_OVERHEAD_BYTES = 512
PACED_PER_SECOND = 1000
PACED_SECONDS = 1.5


@click.command(
    epilog="""\b
Examples:
  shmlog demo                                       the flights of New York, 2013
  shmlog demo --kill-owner                          with a SIGKILL in the middle
  shmlog demo --input orders.csv --key customer     your own file
  shmlog demo -o json | jq .records_per_second
"""
)
@click.option("--kill-owner", is_flag=True, help="Kill one partition's owner with SIGKILL between 1/3 and 2/3.")
@click.option(
    "--input", "input_file", type=click.Path(dir_okay=False), help="Replay this .jsonl or .csv instead of the flights."
)
@click.option(
    "--key",
    "key_field",
    help="The field of --input that is the key. Without it, or where it is null or empty: no key.",
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Keep the data here. Default: a temporary directory, removed."
)
@output_option
def demo(kill_owner: bool, input_file: str | None, key_field: str | None, data_dir: str | None, output: str) -> None:
    """Replay 336,776 real flights through an embedded cluster and verify every record.

    2 producer processes send them as JSON, keyed by tail number, to a topic with 6 partitions; a group of 3
    consumer processes counts flights and averages the departure delay per carrier. While records flow one of the
    consumers is killed, and another one joins. Then everything is compared with the file: offsets, order per key, the
    exact multiset of payloads, the table. Any difference makes the exit code 1.
    """
    if key_field is not None and input_file is None:
        raise click.UsageError("--key FIELD is for --input FILE: the flights are keyed by tail number")
    source = Source(input_file, key_field)
    if input_file is None:
        find_file()
    elif not os.path.isfile(input_file):
        raise InputError(f"{input_file}: no such file")
    with _directories(data_dir) as (data, scratch), progress_for_terminal() as progress:
        topic = TOPIC if source.is_flights else OWN_TOPIC
        plan = Plan(source, scratch, topic, kills_owner=kill_owner)
        report = _run(plan, data, progress)
    _finish(report, kill_owner, output)


def _run(plan: Plan, data: Path, progress: NoProgress | LiveProgress) -> Report:
    with shmlog.start(data) as cluster, Replay(plan, progress.look) as replay:
        progress.say("reading the input")
        replay.start_producers(cluster.name)
        expected = read_expectation(plan.source, plan.producers)
        if not expected.records:
            raise InputError(f"{plan.source.file}: it has no records")
        _create_topics(cluster, plan, expected)
        replay.start_consumers(cluster.name)
        progress.say("attaching producers and consumers")
        replay.make_ready(cluster)
        if isinstance(progress, LiveProgress):
            progress.expected_records = expected.records
        progress.say("replaying")
        arrival = replay.run(expected.shares)
        progress.arrived(replay.observer, arrival)
        progress.say("verifying")
        if arrival.kill is not None:
            in_flight = count_in_flight(cluster, plan.topic, arrival.kill)
            arrival.kill = dataclasses.replace(arrival.kill, in_flight=in_flight)
        found = differences(expected, arrival, with_table=plan.source.is_flights)
        progress.say("measuring latency, paced")
        latencies = measure(cluster.name, LatencyPlan(LATENCY_TOPIC, PACED_PER_SECOND, PACED_SECONDS))
    found += _unheard(latencies)
    return Report(expected, arrival, found, latencies, with_table=plan.source.is_flights)


def _create_topics(cluster: shmlog.Cluster, plan: Plan, expected: Expectation) -> None:
    needed = max(MAX_MESSAGE_BYTES, expected.largest_bytes + RECORD_OVERHEAD_BYTES)
    if needed > MAX_MESSAGE_BYTES_MAX:
        raise InputError(
            f"{plan.source.file}: its largest record has {expected.largest_bytes} bytes;"
            f" max.message.bytes can be {MAX_MESSAGE_BYTES_MAX} at most"
        )
    for name, partitions, limit in ((plan.topic, plan.partitions, needed), (LATENCY_TOPIC, 1, MAX_MESSAGE_BYTES)):
        try:
            cluster.admin.create_topic(name, partitions=partitions, config={"max.message.bytes": limit})
        except shmlog.errors.TopicAlreadyExistsError as error:
            raise ShmlogError(
                f"the data directory already holds a topic {name!r}: the demo needs an empty one (--data-dir)"
            ) from error


def _unheard(latencies: Latencies) -> list[str]:
    """The paced records are accounted for as well."""
    if (
        list(latencies.sequences) == list(range(len(latencies.sequences)))
        and len(latencies.sequences) == latencies.sent
    ):
        return []
    return [f"{latencies.sent} paced records were sent, {len(latencies.sequences)} came, or not in order"]


def _finish(report: Report, kill_owner: bool, output: str) -> None:
    if output == "json":
        if report.arrival.kill is not None:
            click.echo("owner: " + kill_sentence(report.arrival.kill), err=True)
        print_differences(report.differences)
        print_json(report.as_json())
    else:
        report.print()
    if kill_owner:
        _judge_kill(report.arrival)
    if report.differences:
        raise click.exceptions.Exit(1)


def _judge_kill(arrival: Arrival) -> None:
    if arrival.kill is None:
        raise OwnerSurvivedError(
            "the producers were done before an owner was killed, so nothing was shown: take a larger --input, or leave"
            " --kill-owner out"
        )
    if arrival.kill.in_flight == 0:
        raise OwnerSurvivedError(
            "no record was in flight when the owner was killed, so nothing was shown: run it again, or take a larger"
            " --input"
        )


@contextlib.contextmanager
def _directories(data_dir: str | None) -> Iterator[tuple[Path, Path]]:
    """The data directory and one for the workers' accounts; what is temporary is removed."""
    scratch = Path(tempfile.mkdtemp(prefix="shmlog-demo-"))
    try:
        yield Path(data_dir) if data_dir is not None else scratch / "data", scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
