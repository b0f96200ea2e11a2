"""`python -P -m shmlog.tools.bench KIND`: what `shmlog bench` starts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from shmlog.cli.main import main
from shmlog.cli.output import output_option, print_json
from shmlog.limits import REPLICAS_PER_PARTITION_MAX
from shmlog.testing.latency_probe import LatencyPlan, measure
from shmlog.testing.pacing import STAMP

from . import (
    compaction as compaction_bench,
    failover as failover_bench,
    ladder as ladder_bench,
    scale as scale_bench,
    seek as seek_bench,
    startup as startup_bench,
    takeover as takeover_bench,
    throughput as throughput_bench,
    versus as versus_bench,
    versus_report,
)
from .arena import calibrate, cluster_in, say, scratch_directory
from .cases import print_cases
from .cold_cache import drop_everything, evict
from .figures import Figures
from .group_commands import commit, rebalance
from .options import data_dir_option, judge
from .peers.catalog import OTHERS, choose
from .pinning import pinnings
from .targets import latency_rows, throughput_rows
from .versus import VersusPlan
from .versus_picture import svg

KILLS_MIN = 50
LATENCY_TOPIC = "latency"

acks_option = click.option("--acks", type=click.Choice(["all", "1", "0"]), default="all", show_default=True)
targets_option = click.option(
    "--targets",
    is_flag=True,
    help="All cases that have a target, beside it, with processes free, on one core and on two.",
)
size_option = click.option(
    "--size",
    type=click.IntRange(min=STAMP.size, max=1_000_000),
    default=100,
    show_default=True,
    help="Bytes per record.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Figures of an embedded cluster on this host, with a calibration of the machine."""


for command in (rebalance, commit):
    bench.add_command(command)


@bench.command()
@click.option("--records", type=click.IntRange(min=1000), default=1_000_000, show_default=True, help="Per round.")
@size_option
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="The median is reported.")
@acks_option
@click.option("--bulk", is_flag=True, help="send_many instead of send.")
@targets_option
@click.option(
    "--share", type=click.FloatRange(0.001, 10), default=1.0, show_default=True, help="Of --targets' records."
)
@data_dir_option
@output_option
def throughput(
    records: int,
    size: int,
    rounds: int,
    acks: str,
    bulk: bool,
    targets: bool,
    share: float,
    data_dir: str | None,
    output: str,
) -> None:
    """One producer, one partition, one consumer, each a process; the log is written, handles and idempotence are on."""
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        if targets:
            rows = list(throughput_rows(pinnings(), rounds, share, directory, figures))
            print_cases(output, figures, {"rounds": rounds}, rows)
            return
        plan = throughput_bench.ThroughputPlan(records, size, rounds, acks, "many" if bulk else "one")
        verdict = throughput_bench.measure(plan, directory, figures)
    figures.print(output)
    judge(verdict.ok, str(verdict))


@bench.command()
@click.option("--rate", type=click.FloatRange(min=1), default=1000, show_default=True, help="Records per second.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10, show_default=True)
@size_option
@acks_option
@targets_option
@click.option(
    "--ladder", is_flag=True, help="Every level of acks, with one replica and with two, until the acknowledgement."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Of each case of --targets or --ladder."
)
@data_dir_option
@output_option
def latency(
    rate: float,
    seconds: float,
    size: int,
    acks: str,
    targets: bool,
    ladder: bool,
    rounds: int,
    data_dir: str | None,
    output: str,
) -> None:
    """One-way latency at a steady rate, from the intended start of each send, between two processes that sleep.

    With --ladder: from each send to its acknowledgement, for acks 0, 1 and all, also with a second replica and with a
    sync before every acknowledgement (flush.messages=1), alone and beside another producer.
    """
    if targets and ladder:
        raise click.UsageError("give --targets or --ladder, not both")
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        if ladder:
            rungs = ladder_bench.LadderPlan(rate, seconds, rounds, size)
            print_cases(output, figures, ladder_bench.facts(rungs), ladder_bench.measure(rungs, directory))
            return
        if targets:
            plan = LatencyPlan(LATENCY_TOPIC, rate, seconds / rounds, size, acks)
            rows = list(latency_rows(pinnings(), rounds, plan, directory, figures))
            print_cases(output, figures, {"rounds": rounds}, rows)
            return
        say(f"{rate:g} records/s for {seconds:g} s")
        with cluster_in(directory, LATENCY_TOPIC, 1, **{"max.message.bytes": max(262_144, 2 * size)}) as cluster:
            found = measure(cluster.name, LatencyPlan(LATENCY_TOPIC, rate, seconds, size, acks))
    figures.p50_us, figures.p99_us, figures.p999_us = (found.microseconds(share) for share in (0.5, 0.99, 0.999))
    distinct = len(set(found.sequences))
    figures.attempts, figures.acks = found.sent, None if acks == "0" else found.sent
    figures.lost, figures.duplicated = found.sent - distinct, len(found.sequences) - distinct
    figures.print(output)
    judge(figures.lost == 0 and figures.duplicated == 0, f"{figures.lost} lost, {figures.duplicated} duplicated")


@bench.command()
@click.option("--kills", type=click.IntRange(min=0), default=KILLS_MIN, show_default=True, help="At least 50 to count.")
@click.option("--rate", type=click.IntRange(min=1000), default=50_000, show_default=True, help="Records per second.")
@size_option
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--replication-factor",
    type=click.IntRange(1, REPLICAS_PER_PARTITION_MAX),
    default=1,
    show_default=True,
    help="With followers, leaders are killed whose followers are all in sync.",
)
@click.option(
    "--remove-directory",
    is_flag=True,
    help="Move the log of each leader away right before its kill: a follower has to lead.",
)
@click.option(
    "--interval", type=click.FloatRange(min=0.05), default=0.3, show_default=True, help="Seconds between kills."
)
@acks_option
@click.option("--seed", type=int, default=1, show_default=True, help="Which owners are killed, and when.")
@data_dir_option
@output_option
def failover(
    kills: int,
    rate: int,
    size: int,
    partitions: int,
    replication_factor: int,
    remove_directory: bool,
    interval: float,
    acks: str,
    seed: int,
    data_dir: str | None,
    output: str,
) -> None:
    """SIGKILL owners under a steady load; judged by the checker and by kafka-python on the segment files."""
    if find_spec("kafka") is None:
        raise click.ClickException(
            "judging the segments needs an independent decoder, kafka-python: pip install 'shmlog[test]'"
        )
    if remove_directory and replication_factor == 1:
        raise click.UsageError("--remove-directory leaves nothing with one replica: give --replication-factor 2")
    failover_bench.require_decoder()
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        say(f"{rate} records/s, {kills} kills")
        plan = failover_bench.FailoverPlan(
            kills, rate, size, partitions, interval, acks, seed, replication_factor, remove_directory
        )
        verdict = failover_bench.measure(plan, directory, figures)
    figures.print(output)
    judge(verdict.ok, str(verdict))


@bench.command()
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="Supervisors to kill.")
@click.option(
    "--partitions", type=click.IntRange(min=1), default=4, show_default=True, help="That records flow through."
)
@data_dir_option
@output_option
def takeover(rounds: int, partitions: int, data_dir: str | None, output: str) -> None:
    """SIGKILL supervisors that have a standby: time until a topic is created, and pauses of a consumer meanwhile."""
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        rows, facts = takeover_bench.measure(takeover_bench.TakeoverPlan(rounds, partitions), directory)
    print_cases(output, figures, facts, rows)


@bench.command()
@click.option("--records", type=click.IntRange(100_000, 1_000_000_000), default=10_000_000, show_default=True)
@click.option("--keys", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Different ones.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which record has which key.")
@size_option
@data_dir_option
@output_option
def compaction(records: int, keys: int, seed: int, size: int, data_dir: str | None, output: str) -> None:
    """Compact a topic: speed and memory without a limit, and what a producer notices of it within its limit."""
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        plan = compaction_bench.CompactionPlan(records, keys, size, seed)
        rows, facts = compaction_bench.measure(plan, directory, figures)
    print_cases(output, figures, facts, rows)


@bench.command()
@click.option("--records", type=click.IntRange(1000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--seeks", type=click.IntRange(min=1), default=2000, show_default=True, help="Of each kind.")
@click.option("--cold", is_flag=True, help="Take the files out of the page cache before the seeks.")
@click.option("--seed", type=int, default=1, show_default=True, help="Where the seeks go.")
@size_option
@data_dir_option
@output_option
def seek(records: int, seeks: int, cold: bool, seed: int, size: int, data_dir: str | None, output: str) -> None:
    """Random seeks in one partition by offset and by time, until the record is in hand: from segments, from the ring.

    The partition is filled through a producer; 100,000,000 records of 100 bytes take about 11 GB of disk.
    """
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        report = seek_bench.measure(seek_bench.SeekPlan(records, size, seeks, seed, cold), directory)
    print_cases(output, figures, report.facts, report.rows)


@bench.command()
@click.option("--partitions", type=click.IntRange(min=1), default=1000, show_default=True, help="A process each.")
@click.option(
    "--records", type=click.IntRange(min=1), default=500_000, show_default=True, help="Per producer and round."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="The median is reported.")
@click.option("--idle", type=click.FloatRange(min=0.1), default=20, show_default=True, help="Seconds of doing nothing.")
@click.option(
    "--clients", type=click.IntRange(min=0), default=200, show_default=True, help="Of each kind on one partition."
)
@size_option
@data_dir_option
@output_option
def scale(
    partitions: int, records: int, rounds: int, idle: float, clients: int, size: int, data_dir: str | None, output: str
) -> None:
    """Many partitions: created, idle, under load beside six, started again; and many clients on one partition.

    Producers and consumers are processes, four of each over all partitions, and --clients of each on one.
    """
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        plan = scale_bench.ScalePlan(partitions, records, size, rounds, idle, clients)
        report = scale_bench.measure(plan, directory)
    print_cases(output, figures, report.facts, report.rows)


EVICTIONS = {"warm": None, "fadvise": evict, "drop-caches": lambda _directory: drop_everything()}


@bench.command()
@click.option("--segments", type=click.IntRange(1, 50_000), default=1000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="The median is reported.")
@click.option(
    "--cache",
    type=click.Choice(list(EVICTIONS)),
    default="fadvise",
    show_default=True,
    help="What happens to the page cache before each start; drop-caches needs root and slows the whole machine.",
)
@data_dir_option
@output_option
def startup(segments: int, rounds: int, cache: str, data_dir: str | None, output: str) -> None:
    """Start over a partition of many segments and over a small one; kill the owner of each, and wait for the next."""
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        report = startup_bench.measure(startup_bench.StartupPlan(segments, rounds, EVICTIONS[cache]), directory)
    print_cases(output, figures, report.facts, report.rows)


@bench.command()
@click.option(
    "--peers", default="all", show_default=True, help=f"Separated by commas: {', '.join(peer.name for peer in OTHERS)}."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="At least 5 to mean anything.")
@click.option(
    "--burst", type=click.FloatRange(min=0.01), default=0.4, show_default=True, help="Seconds of one throughput round."
)
@click.option(
    "--paced", type=click.FloatRange(min=0.05), default=0.5, show_default=True, help="Seconds of one latency round."
)
@click.option("--rate", type=click.FloatRange(min=1), default=1000, show_default=True, help="Records/s for latency.")
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(min=STAMP.size, max=1_000_000),
    multiple=True,
    default=(100, 1024),
    show_default=True,
    help="Bytes per record; may be given several times.",
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, writable=True), help="Draw the first size into this SVG file."
)
@data_dir_option
@output_option
def versus(
    peers: str,
    rounds: int,
    burst: float,
    paced: float,
    rate: float,
    sizes: tuple[int, ...],
    picture: str | None,
    data_dir: str | None,
    output: str,
) -> None:
    """Beside queues, sockets and brokers that pip and apt install: throughput and latency, in alternating rounds.

    Prints Markdown, or with -o json everything. What is not installed is named and left out; servers are started on
    sockets and ports of their own and stopped. Peers of Python: pip install 'shmlog[bench]'.
    """
    chosen = choose(peers)
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        comparison = versus_bench.measure(VersusPlan(chosen, sizes, rounds, burst, paced, rate), directory)
    if picture is not None:
        Path(picture).write_text(svg(comparison))
    if output == "json":
        print_json(versus_report.as_json(comparison, figures))
    else:
        print(versus_report.markdown(comparison, figures))


if __name__ == "__main__":
    main(lambda: bench, "shmlog bench")
