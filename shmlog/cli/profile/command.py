"""`shmlog profile`: the commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from shmlog.cli.attach import cluster_option, complete_partition, complete_topic, connect
from shmlog.cli.output import count_of, output_option, print_json
from shmlog.errors import UnknownTopicOrPartitionError

DEFAULT_FILE = "shmlog.profile"


@click.group()
def profile() -> None:
    """See where the time of records goes, and what the owners do meanwhile.

    Everything works on a running cluster: nothing is started again, and no program changes.
    """


@profile.command(
    short_help="Follow some records of a running cluster, into a file.",
    epilog="""\b
Examples:
  shmlog profile record
  shmlog profile record --topic orders --seconds 60 -o orders.profile
  shmlog profile report orders.profile
""",
)
@click.option("--topic", "topics", multiple=True, shell_complete=complete_topic, help="Only this one; may be repeated.")
@click.option("--seconds", type=click.FloatRange(min=0.1, max=86_400), default=10.0, show_default=True)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="The file to write; an older one is replaced.",
)
@cluster_option
def record(topics: tuple[str, ...], seconds: float, path: Path, name: str | None) -> None:
    """Follow some records: when they are accepted, taken, published, written, visible and read.

    Owners follow about a thousand records per second and partition, fewer where there are many partitions. Ctrl-C ends
    it early and keeps what there is. If this command is killed, owners stop following records within seconds.
    """
    from shmlog.cli.profile.recording import Recorder

    with connect(name) as cluster, _new_file(path) as file:
        recorder = Recorder(cluster, topics, file)
        with contextlib.closing(recorder):
            if sys.stderr.isatty():
                click.echo(f"recording for {seconds:g} s; Ctrl-C ends it", err=True)
            recorder.record(seconds)
    summary = recorder.summary
    click.echo(
        f"followed {count_of(summary.samples, 'record')} of {count_of(summary.partitions, 'partition')}, noted"
        f" {count_of(summary.readings, 'read')}; look: shmlog profile report {path}"
    )
    if not summary.samples:
        click.echo("no record was sent meanwhile: record while programs are at work", err=True)


@profile.command(
    short_help="Show a recorded profile, hop by hop.",
    epilog="""\b
Examples:
  shmlog profile report                          what `shmlog profile record` wrote last
  shmlog profile report orders.profile --partition orders-0
  shmlog profile report orders.profile --each
  shmlog profile report -o json | jq '.[0].hops[] | {from, to, p99_us}'
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=DEFAULT_FILE)
@click.option("--partition", metavar="TOPIC-NUMBER", help="Only this one.")
@click.option("--each", is_flag=True, help="A table for each partition, after that of all.")
@output_option
def report(file: Path, partition: str | None, each: bool, output: str) -> None:
    """Show how long each hop of the recorded records took, in microseconds.

    The histograms have one scale for all hops, five columns for each decade, and a height of their own. `share` is
    the part of the mean way.
    """
    from shmlog.cli.profile.recorded import load
    from shmlog.cli.profile.report import Report, headline, remarks

    recorded = load(file)
    known = recorded.partitions()
    if partition is not None and partition not in known:
        raise UnknownTopicOrPartitionError(
            f"{file} has no record of partition {partition!r}; it has {', '.join(known) or 'none at all'}"
        )
    reports = [Report(recorded, chosen) for chosen in ([partition] if partition or not each else [None, *known])]
    if output == "json":
        print_json([one.as_json() for one in reports])
        return
    for one in reports:
        click.echo(headline(recorded, one))
        click.echo()
        click.echo(one.table())
        click.echo()
    for line in remarks(recorded, reports[0]):
        click.echo(line)


@profile.command(
    short_help="Draw what the owners do, as a flame graph.",
    epilog="""\b
Examples:
  shmlog profile flame
  shmlog profile flame --partition orders-0 --seconds 10 -o orders-0.svg
  shmlog profile flame --folded > stacks.txt     for other tools
""",
)
@click.option(
    "--partition",
    "partitions",
    metavar="TOPIC-NUMBER",
    multiple=True,
    shell_complete=complete_partition,
    help="Only this one; may be repeated.",
)
@click.option("--seconds", type=click.IntRange(min=1, max=3600), default=5, show_default=True)
@click.option("--rate", type=click.IntRange(min=1, max=1000), default=100, show_default=True, help="Looks per second.")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default="flame.svg",
    show_default=True,
    help="The picture to write.",
)
@click.option("--folded", is_flag=True, help="Print folded stacks to standard output instead.")
@cluster_option
def flame(partitions: tuple[str, ...], seconds: int, rate: int, path: Path, folded: bool, name: str | None) -> None:
    """Draw the stacks of partition owners, of Python and of the compiled core, as a flame graph (SVG).

    The tool that looks is py-spy: pip install 'shmlog[profile]'. It stops each owner for a moment at every look, so
    owners are slower meanwhile. An owner that sleeps shows nothing.
    """
    from shmlog.cli.profile.flamegraph import svg
    from shmlog.cli.profile.stacks import folded_lines, look_at, owners_of

    with connect(name) as cluster:
        owners = owners_of(cluster.admin.describe_topics(), partitions)
    stacks = look_at(owners, seconds=seconds, rate=rate)
    if folded:
        for line in folded_lines(stacks):
            click.echo(line)
        return
    title = f"{', '.join(owners) if len(owners) <= 4 else count_of(len(owners), 'owner')}: {seconds} s"
    path.write_text(svg(stacks, title), encoding="utf-8")
    click.echo(f"{count_of(sum(stacks.values()), 'stack')} of {count_of(len(owners), 'owner')} drawn: {path}")
    if not stacks:
        click.echo("the owners slept all the time: draw while programs are at work", err=True)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file
