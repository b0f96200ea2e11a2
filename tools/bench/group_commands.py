"""`shmlog bench rebalance` and `shmlog bench commit`: consumer groups."""

from __future__ import annotations

import click

from shmlog.cli.output import output_option

from . import group_commit as commit_bench, rebalance as rebalance_bench
from .arena import calibrate, scratch_directory
from .cases import print_cases
from .figures import Figures
from .options import data_dir_option, judge


@click.command()
@click.option("--members", type=click.IntRange(min=2), default=10, show_default=True, help="A process each.")
@click.option("--partitions", type=click.IntRange(min=2), default=100, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="A kill and a join each.")
@click.option(
    "--rate", type=click.FloatRange(1, 1000), default=100, show_default=True, help="Records/s to each partition."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which members are killed.")
@data_dir_option
@output_option
def rebalance(
    members: int, partitions: int, rounds: int, rate: float, seed: int, data_dir: str | None, output: str
) -> None:
    """SIGKILL members of a consumer group, and have others join: time until all that moved is read again.

    p50_ms and p99_ms: from a kill; join_p50_ms: from when a new member asks for its consumer. unmoved_pause_ms_max:
    the longest that a partition was taken from a member that got it back; unmoved_gap_p99_ms and quiet_gap_p99_ms: how
    long partitions that kept their member went without a read meanwhile, and in a quiet group.
    """
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        plan = rebalance_bench.RebalancePlan(members, partitions, rounds, rate, seed)
        rows, facts = rebalance_bench.measure(plan, directory)
    print_cases(output, figures, facts, rows)
    pause_ms = facts["unmoved_pause_ms_max"]
    judge(pause_ms == 0, f"a partition was taken for {pause_ms} ms from a member that kept it")


@click.command()
@click.option("--commits", type=click.IntRange(min=1), default=1000, show_default=True, help="Of each kind.")
@data_dir_option
@output_option
def commit(commits: int, data_dir: str | None, output: str) -> None:
    """Commits of a consumer in a group, one by one: in its own memory, in the coordinator's log, and synced."""
    figures = Figures()
    with scratch_directory(data_dir) as directory:
        calibrate(figures, directory)
        rows, facts = commit_bench.measure(commit_bench.CommitPlan(commits), directory)
    print_cases(output, figures, facts, rows)
