"""The demo's live view on a terminal: per partition rate and lag while the records flow. Elsewhere: nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from shmlog.cli.counters import Observer, PartitionSample, Rates
from shmlog.cli.output import human_rate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from shmlog.cli.demo.replay import Arrival

REFRESH_PER_SECOND = 12
BAR_WIDTH = 40


class Progress(Protocol):
    """Told what happens; shows it, or not."""

    def say(self, phase: str) -> None:
        """A new phase began."""

    def look(self, observer: Observer) -> None:
        """Counters may have moved."""

    def arrived(self, observer: Observer, arrival: Arrival) -> None:
        """Everything was consumed; from now on rates are averages over the run."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoProgress:
    """Nobody watches."""

    def say(self, phase: str) -> None:
        pass

    def look(self, observer: Observer) -> None:
        pass

    def arrived(self, observer: Observer, arrival: Arrival) -> None:
        pass

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress:
    """What is going on, and the partitions as they fill, redrawn in place on standard error; the partitions stay."""

    def __init__(self, records: int = 0) -> None:
        from rich.console import Console
        from rich.live import Live

        self.expected_records = records
        self._phase = ""
        self._rates = Rates()
        self._positions: dict[int, int] = {}  # the last that was seen: a consumer that has left shows none
        self._partitions: RenderableType | None = None
        self._live = Live(console=Console(stderr=True), refresh_per_second=REFRESH_PER_SECOND)

    def say(self, phase: str) -> None:
        self._phase = phase
        self._draw()

    def look(self, observer: Observer) -> None:
        samples = observer.samples()
        self._rates.update(samples)
        self._positions.update({position.partition_id: position.next_offset for position in observer.positions()})
        self._partitions = self._table(samples, self._positions)
        self._draw()

    def arrived(self, observer: Observer, arrival: Arrival) -> None:
        samples = observer.samples()
        for sample in samples:
            self._positions[sample.partition_id] = arrival.next_offsets.get(sample.partition, 0)
            self._rates.records[sample.name] = sample.log_end_offset / max(arrival.seconds, 1e-9)
        self._partitions = self._table(samples, self._positions)
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        phase = Text(f"{self._phase} ...", style="dim")
        self._live.update(phase if self._partitions is None else Group(self._partitions, phase))

    def _table(self, samples: list[PartitionSample], positions: dict[int, int]) -> RenderableType:
        from rich.columns import Columns
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for header in ("partition", "owner", "epoch", "records", "rate", "lag"):
            table.add_column(header, justify="left" if header == "partition" else "right", header_style="bold")
        consumed = total = 0
        for sample in samples:
            position = positions.get(sample.partition_id, sample.log_start_offset)
            consumed += position
            total += sample.log_end_offset
            table.add_row(
                sample.name,
                str(sample.pid),
                str(sample.leader_epoch),
                f"{sample.log_end_offset:,}",
                human_rate(self._rates.records.get(sample.name, 0.0)),
                f"{max(0, sample.high_watermark - position):,}",
            )
        bar = ProgressBar(total=max(1, self.expected_records), completed=consumed, width=BAR_WIDTH)
        summary = Text(f"{total:,} of {self.expected_records:,} records in the log, {consumed:,} consumed")
        return Group(table, Columns([bar, summary]), Text(""))

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._partitions is None:
            self._live.transient = True  # the phase goes, and leaves no empty line
        else:
            self._live.update(self._partitions)
        self._live.stop()


def progress_for_terminal() -> NoProgress | LiveProgress:
    """A live view if standard error is a terminal."""
    return LiveProgress() if sys.stderr.isatty() else NoProgress()
