"""`shmlog segment scrub`: the command."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, complete_topic, connect
from shmlog.cli.cluster_paths import expect_cluster, find_cluster
from shmlog.cli.output import count_of, human_bytes, output_option, print_json

if TYPE_CHECKING:
    from shmlog.cli.scrub.course import Finding, Mender, Summary
    from shmlog.cli.scrub.places import Places

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?I?)B?(?:/S)?", re.IGNORECASE)
RATE_DEFAULT = "50MB"


@click.command(
    short_help="Check sealed segments of all replicas, and mend them.",
    epilog="""\b
Examples:
  shmlog segment scrub                       all topics of the running cluster
  shmlog segment scrub orders --rate 200MB
  shmlog segment scrub --repair              and put right what another replica has
  shmlog segment scrub --data-dir data -o json | jq '.flaws[]'
""",
)
@click.argument("topics", nargs=-1, metavar="[TOPIC]...", shell_complete=complete_topic)
@click.option(
    "--rate", default=RATE_DEFAULT, show_default=True, metavar="BYTES", help="Read at most so much in a second."
)
@click.option("--repair", is_flag=True, help="Write what is damaged anew, from another replica that is sound there.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="That of a cluster that is stopped.")
@click.option(
    "--log-dir",
    "log_dirs",
    multiple=True,
    type=click.Path(file_okay=False),
    help="Of a stopped cluster, where the disk has moved since it ran; may be repeated.",
)
@cluster_option
@output_option
def scrub(
    topics: tuple[str, ...],
    rate: str,
    repair: bool,
    data_dir: str | None,
    log_dirs: tuple[str, ...],
    name: str | None,
    output: str,
) -> None:
    """Look for damage in the segments that are not written to any more: every batch and every index entry of every
    replica of TOPIC, or of all topics, as the disks have them.

    What is wrong, and was not repaired, makes the exit code 1.
    """
    bytes_per_s = _bytes_per_s(rate)
    with ExitStack() as held:
        places, mender = _replicas(held, topics, name, data_dir, log_dirs, repair=repair)
        _run(places, mender, bytes_per_s, output)


def _replicas(
    held: ExitStack,
    topics: tuple[str, ...],
    name: str | None,
    data_dir: str | None,
    log_dirs: tuple[str, ...],
    *,
    repair: bool,
) -> tuple[Places, Mender | None]:
    from shmlog.cli.scrub import places
    from shmlog.cli.scrub.repairs import RunningMender, StoppedMender
    from shmlog.client.connection import Connection

    cluster = find_cluster(name) if data_dir is None else expect_cluster(name, data_dir=data_dir)
    if not log_dirs and cluster.pid is not None:
        found = places.of_running(held.enter_context(connect(name)), topics)
        if not repair:
            return found, None
        connection = Connection(cluster.name, cluster.runtime)
        held.callback(connection.close)
        return found, RunningMender(connection)
    mender = None
    if repair:
        mender = StoppedMender(cluster.data_dir, places.all_directories(cluster.data_dir, log_dirs)[1:])
        held.callback(mender.close)
    return places.of_stopped(cluster.data_dir, log_dirs, topics), mender


def _run(places: Places, mender: Mender | None, bytes_per_s: float, output: str) -> None:
    from shmlog.cli.scrub.course import Course, Pace

    course = Course(places, Pace(bytes_per_s), mender)
    shown = sys.stderr.isatty()
    with click.progressbar(length=course.size_bytes(), label="scrub", file=sys.stderr, hidden=not shown) as bar:
        course.run(bar.update)
    summary = course.summary
    if output == "json":
        print_json(
            {
                "replicas": summary.replicas,
                "segments": summary.segments,
                "bytes": summary.size_bytes,
                "flaws": [_as_json(finding) for finding in summary.findings],
            }
        )
    else:
        for finding in summary.findings:
            click.echo(_sentence(finding))
        click.echo(_total(summary), err=not summary.is_sound)
    if not summary.is_sound:
        raise click.exceptions.Exit(1)


def _sentence(finding: Finding) -> str:
    flaw = finding.flaw
    outcome = "repaired" if finding.is_repaired else f"not repaired: {finding.note}" if finding.note else "damaged"
    return (
        f"{flaw.path}: from byte {flaw.position}, offsets {flaw.first_offset} to {flaw.end_offset - 1}: {flaw.problem};"
        f" {outcome}"
    )


def _as_json(finding: Finding) -> dict[str, object]:
    flaw, place = finding.flaw, finding.place
    return {
        "topic": place.partition.topic,
        "partition": place.partition.partition,
        "directory": place.directory,
        "path": flaw.path,
        **{name: value for name, value in asdict(flaw).items() if name not in ("segment", "suffix")},
        "repaired": finding.is_repaired,
        "note": finding.note,
    }


def _total(summary: Summary) -> str:
    repaired = sum(one.is_repaired for one in summary.findings)
    left = len(summary.findings) - repaired
    looked = (
        f"{count_of(summary.segments, 'sealed segment')} of {count_of(summary.replicas, 'replica')},"
        f" {human_bytes(summary.size_bytes)}"
    )
    if not summary.findings:
        return f"{looked}: sound"
    said = [f"{repaired} repaired"] * bool(repaired) + [f"{left} damaged"] * bool(left)
    hint = (
        "" if summary.is_sound or any(one.note for one in summary.findings) else "; --repair mends from other replicas"
    )
    return f"{looked}: {', '.join(said)}{hint}"


def _bytes_per_s(text: str) -> float:
    """ "50MB" as a number; usage error for what is no rate."""
    match = RATE.fullmatch(text.strip())
    rate = float(match[1]) * UNITS[match[2].upper()] if match is not None and match[2].upper() in UNITS else 0.0
    if rate < 1:
        raise click.UsageError(f"--rate takes bytes in a second, such as 50MB or 1GiB, not {text!r}")
    return rate
