"""`shmlog top`: partitions, rates and lags, redrawn while you look. Reads shared counters; disturbs nobody."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect
from shmlog.cli.counters import Observer, PartitionSample, Position, Rates
from shmlog.cli.output import COLUMN_GAP, count_of, fit, human_bytes, human_rate, text_table

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

    from shmlog import Cluster

NAMES_EVERY_S = 3.0
"""Topics and clients that have come or gone are asked for so often; counters are read at every interval."""
HEADERS = ("partition", "pid", "state", "epoch", "lanes", "end", "records", "bytes", "lag", "readers", "ring")
LEFT_OUT_FIRST = ("ring", "lanes", "epoch", "readers", "pid", "bytes")
"""Where a terminal is too narrow for all columns; `shmlog status` and --once have the rest."""


@click.command(
    epilog="""\b
Examples:
  shmlog top
  shmlog top --interval 0.2 --topic orders
  shmlog top --once
"""
)
@click.option(
    "-i", "--interval", type=click.FloatRange(min=0.05, max=3600), default=1.0, show_default=True, help="Seconds."
)
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be repeated.")
@click.option("--once", is_flag=True, help="One measurement over an interval, printed plainly; the default in a pipe.")
@cluster_option
def top(interval: float, topics: tuple[str, ...], once: bool, name: str | None) -> None:
    """Watch every partition: owner, epoch, lanes, records and bytes per second, and the lag of its readers.

    Ctrl-C ends it.
    """
    with connect(name) as cluster, contextlib.closing(Observer()) as observer:
        view = View(cluster, observer, topics)
        if once or not sys.stdout.isatty():
            view.measure()
            time.sleep(interval)
            view.measure()
            click.echo(view.summary())
            click.echo(text_table(HEADERS, view.rows()))
        else:
            _live(view, interval)


class View:
    """What is shown: the rows of the last measurement."""

    def __init__(self, cluster: Cluster, observer: Observer, topics: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._observer = observer
        self._topics = topics
        self._rates = Rates()
        self._names_at = 0.0
        self._samples: list[PartitionSample] = []
        self._positions: list[Position] = []

    def measure(self) -> None:
        """Read the counters, and now and then the names."""
        if time.monotonic() - self._names_at >= NAMES_EVERY_S:
            admin = self._cluster.admin
            self._observer.refresh(self._cluster.describe(), admin.describe_topics(self._topics or None))
            self._names_at = time.monotonic()
        self._samples = self._observer.samples()
        self._positions = self._observer.positions()
        self._rates.update(self._samples)

    def rows(self) -> list[list[object]]:
        """One row per partition, as HEADERS says."""
        readers: dict[int, list[int]] = {}
        for position in self._positions:
            readers.setdefault(position.partition_id, []).append(position.next_offset)
        return [self._row(sample, readers.get(sample.partition_id, [])) for sample in self._samples]

    def _row(self, sample: PartitionSample, readers: list[int]) -> list[object]:
        return [
            sample.name,
            str(sample.pid),
            sample.state,
            sample.leader_epoch,
            sample.lanes,
            sample.high_watermark,
            human_rate(self._rates.records.get(sample.name, 0.0)),
            human_bytes(self._rates.bytes.get(sample.name, 0.0)) + "/s",
            max(0, sample.high_watermark - min(readers)) if readers else None,
            len(readers),
            human_bytes(sample.ring_bytes),
        ]

    def summary(self) -> str:
        """All partitions together."""
        records = sum(self._rates.records.values())
        volume = sum(self._rates.bytes.values())
        return (
            f"{self._cluster.name}: {count_of(len(self._samples), 'partition')}, {human_rate(records)} records,"
            f" {human_bytes(volume)}/s"
        )


def _live(view: View, interval: float) -> None:
    from rich.live import Live

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            view.measure()
            live.update(_rich_table(view, live.console.width), refresh=True)
            time.sleep(interval)


def _rich_table(view: View, width: int) -> Table:
    from rich.table import Table

    rows = [
        ["-" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        for row in view.rows()
    ]
    headers, *lines = fit(HEADERS, rows, width, LEFT_OUT_FIRST)
    table = Table(
        title=view.summary(),
        title_justify="left",
        box=None,
        padding=(0, COLUMN_GAP, 0, 0),
        pad_edge=False,
        expand=False,
    )
    for header in headers:
        justify: JustifyMethod = "left" if header in (headers[0], "state") else "right"
        table.add_column(header, justify=justify, header_style="bold", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table
