"""The demo's live view on a terminal: per partition rate and lag while the records flow. Elsewhere: nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from shmlog.cli.counters import Observer, Rates
from shmlog.cli.output import human_rate

if TYPE_CHECKING:
    from rich.console import RenderableType


class Progress(Protocol):
    """Told what happens; shows it, or not."""

    def say(self, phase: str) -> None:
        """A new phase began."""

    def look(self, observer: Observer) -> None:
        """Counters may have moved."""

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

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress:
    """A table that is redrawn in place on standard error, and a bar over all partitions; gone at the end."""

    def __init__(self, records: int = 0) -> None:
        from rich.console import Console
        from rich.live import Live

        self.expected_records = records
        self._phase = ""
        self._rates = Rates()
        self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=12)

    def say(self, phase: str) -> None:
        from rich.spinner import Spinner

        self._phase = phase
        self._live.update(Spinner("dots", text=phase), refresh=True)

    def look(self, observer: Observer) -> None:
        samples = observer.samples()
        self._rates.update(samples)
        positions = {position.partition_id: position.next_offset for position in observer.positions()}
        self._live.update(self._table(observer, positions))

    def _table(self, observer: Observer, positions: dict[int, int]) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for header in ("partition", "owner", "epoch", "records", "rate", "lag"):
            table.add_column(header, justify="left" if header == "partition" else "right", header_style="bold")
        consumed = total = 0
        for sample in observer.samples():
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
        bar = ProgressBar(total=max(1, self.expected_records), completed=consumed, width=50)
        summary = Text(f"{total:,} of {self.expected_records:,} records in the log, {consumed:,} consumed", style="dim")
        return Group(Text(self._phase), table, bar, summary)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def progress_for_terminal() -> NoProgress | LiveProgress:
    """A live view if standard error is a terminal."""
    return LiveProgress() if sys.stderr.isatty() else NoProgress()
