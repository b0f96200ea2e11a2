"""`shmlog group describe`: where a group stands in each partition, once or redrawn while you look."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect
from shmlog.cli.group.lag import LagMeter, PartitionLag, total
from shmlog.cli.group.places import group_argument
from shmlog.cli.output import (
    COLUMN_GAP,
    cell_text,
    count_of,
    fit,
    output_option,
    print_json,
    printable,
    require_reader,
    text_table,
)

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

    from shmlog import Cluster
    from shmlog.client.group_results import ConsumerGroupDescription

HEADERS = ("partition", "committed", "end", "lag", "lag s", "client", "pid", "metadata")
LEFT_OUT_FIRST = ("metadata", "committed", "pid", "end")
"""Where a terminal is too narrow for all columns; a pipe and -o json have them all."""
LEFT = ("partition", "client", "metadata")
LAG_S_TO_NOTE = 1.0


@click.command(
    epilog="""\b
Examples:
  shmlog group describe delays
  shmlog group describe delays --watch
  shmlog group describe delays -o json | jq '.partitions[] | select(.lag_seconds > 10)'
"""
)
@group_argument
@click.option("--watch", is_flag=True, help="Again and again; Ctrl-C ends it.")
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.05, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds, with --watch.",
)
@cluster_option
@output_option
def describe(group: str, watch: bool, interval: float, name: str | None, output: str) -> None:
    """Show the lag of GROUP in each partition.

    The largest comes first. lag: records that can be read and are not committed. lag s: seconds since the first of
    them was written, by its timestamp; 0 when the group has caught up.
    """
    with connect(name) as cluster, contextlib.closing(LagMeter(cluster)) as meter:
        view = View(cluster, meter, group)
        if watch and output == "table" and sys.stdout.isatty():
            _live(view, interval)
            return
        while True:
            view.measure()
            view.print(output)
            if not watch:
                return
            time.sleep(interval)
            require_reader()


class View:
    """A group as it was when it was measured last."""

    def __init__(self, cluster: Cluster, meter: LagMeter, group: str) -> None:
        self._cluster = cluster
        self._meter = meter
        self._group = group
        self._lags: list[PartitionLag] = []
        self._found: ConsumerGroupDescription | None = None

    @property
    def found(self) -> ConsumerGroupDescription:
        """The group; after measure()."""
        assert self._found is not None
        return self._found

    def measure(self) -> None:
        """Ask the coordinator, and look at the ends of the partitions."""
        (self._found,) = self._cluster.admin.describe_consumer_groups([self._group])
        self._lags = self._meter.measure(self._found)

    def print(self, output: str) -> None:
        """To standard output."""
        if output == "json":
            print_json(self.as_json())
            return
        click.echo(self.summary())
        if self._lags:
            click.echo(text_table(HEADERS, self.rows()))
        if self.found.error:
            click.echo(printable(self.found.error), err=True)

    def as_json(self) -> dict[str, object]:
        """Everything that is known."""
        lag, lag_seconds = total(self._lags)
        return {
            "group": self.found.group_id,
            "state": self.found.state,
            "epoch": self.found.epoch,
            "assignor": self.found.assignor or None,
            "error": self.found.error or None,
            "members": len(self.found.members),
            "lag": lag,
            "lag_seconds": round(lag_seconds, 3),
            "partitions": [one.row() for one in self._lags],
        }

    def summary(self) -> str:
        """All partitions together."""
        lag, lag_seconds = total(self._lags)
        behind = f"{count_of(lag, 'record')} behind" + (f", {lag_seconds:,.1f} s at most" if lag else "")
        assignor = f", {self.found.assignor}" if self.found.assignor else ""
        return (
            f"group {printable(self.found.group_id)}: {self.found.state}, epoch {self.found.epoch}{assignor},"
            f" {count_of(len(self.found.members), 'member')}, {behind if self._lags else 'nothing committed'}"
        )

    def rows(self) -> list[list[object]]:
        """One row per partition, as HEADERS says."""
        rows = [one.row() for one in self._lags]
        return [
            [
                f"{row['topic']}-{row['partition']}",
                row["committed"],
                row["end"],
                row["lag"],
                row["lag_seconds"],
                row["client"],
                None if row["pid"] is None else str(row["pid"]),
                row["metadata"],
            ]
            for row in rows
        ]

    def is_behind(self) -> list[bool]:
        """By row: whether its lag is worth a colour."""
        return [(one.lag_seconds or 0.0) >= LAG_S_TO_NOTE for one in self._lags]


def _live(view: View, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            view.measure()
            live.update(Group(view.summary(), _rich_table(view, live.console.width)), refresh=True)
            time.sleep(interval)


def _rich_table(view: View, width: int) -> Table:
    from rich.table import Table

    rows = [[cell_text(cell) for cell in row] for row in view.rows()]
    headers, *lines = fit(HEADERS, rows, width, LEFT_OUT_FIRST) if rows else [list(HEADERS)]
    table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, expand=False)
    for header in headers:
        justify: JustifyMethod = "left" if header in LEFT else "right"
        table.add_column(header, justify=justify, header_style="bold", no_wrap=True)
    for line, is_behind in zip(lines, view.is_behind(), strict=True):
        table.add_row(*line, style="yellow" if is_behind else None)
    return table
