"""`shmlog profile report`: a recorded profile as tables or JSON."""

from __future__ import annotations

from collections.abc import Iterator

from shmlog.cli.output import count_of, text_table
from shmlog.cli.profile.histogram import Figures, axis, bars, bucket_bounds_ns, figures, span
from shmlog.cli.profile.hops import HOPS, durations
from shmlog.cli.profile.recorded import Recorded

WHOLE = HOPS[-1]


class Report:
    """The hops of the chosen partitions (None: of all) together."""

    def __init__(self, recorded: Recorded, partition: str | None = None) -> None:
        self.title = partition or "all partitions"
        self.samples = [one for one in recorded.samples if partition in (None, one.partition)]
        self.readings = [one for one in recorded.readings if partition in (None, one.partition)]
        found = durations(self.samples, self.readings)
        self.impossible = found.impossible
        self.hops: dict[tuple[str, str], Figures | None] = {hop: figures(found.ns[hop]) for hop in HOPS}

    def table(self) -> str:
        """A line for each hop: microseconds, its share of the mean way, and where its durations lie."""
        there = [row for row in self.hops.values() if row is not None]
        first, end = span(there)
        rows = [
            [
                f"{begin} > {stage}",
                *_cells(row, self._share((begin, stage))),
                "" if row is None else bars(row, first, end),
            ]
            for (begin, stage), row in self.hops.items()
        ]
        return text_table(["us", "count", "p50", "p90", "p99", "max", "share", axis(first, end)], rows)

    def as_json(self) -> dict[str, object]:
        """All figures; buckets as [begins at us, count], empty ones left out."""
        return {
            "partition": self.title,
            "samples": len(self.samples),
            "readings": len(self.readings),
            "impossible": self.impossible,
            "hops": [
                {
                    "from": begin,
                    "to": end,
                    "count": row.count,
                    "mean_us": row.mean_ns / 1e3,
                    "p50_us": row.p50_ns / 1e3,
                    "p90_us": row.p90_ns / 1e3,
                    "p99_us": row.p99_ns / 1e3,
                    "max_us": row.max_ns / 1e3,
                    "buckets": [
                        [round(bound / 1e3, 3), n]
                        for bound, n in zip(bucket_bounds_ns(), row.buckets, strict=True)
                        if n
                    ],
                }
                for (begin, end), row in self.hops.items()
                if row is not None
            ],
        }

    def _share(self, hop: tuple[str, str]) -> float | None:
        """Of the mean way, in percent. Without readings the way ends where records are visible."""
        steps = {step: row.mean_ns for step, row in self.hops.items() if row is not None and step != WHOLE}
        total = sum(steps.values())
        return 100 * steps[hop] / total if hop in steps and total else None


def _cells(row: Figures | None, share: float | None) -> list[object]:
    if row is None:
        return [0, None, None, None, None, None]
    quantiles = (row.p50_ns, row.p90_ns, row.p99_ns, row.max_ns)
    return [row.count, *(ns / 1e3 for ns in quantiles), None if share is None else f"{share:.0f}%"]


def headline(recorded: Recorded, report: Report) -> str:
    """What the table below is about."""
    clients = len({reading.client for reading in report.readings})
    during = f" in {recorded.seconds:g} s" if recorded.seconds is not None else ""
    read = f"read by {count_of(clients, 'client')}" if clients else "read by nobody"
    return f"{report.title}: {count_of(len(report.samples), 'record')} followed{during}, {read}"


def remarks(recorded: Recorded, report: Report) -> Iterator[str]:
    """What somebody who reads the table should know."""
    yield "A record here is the first of its batch: the others waited less before they were taken."
    yield "Read means that a consumer has fetched it: its program may not have asked for it yet."
    if recorded.seconds is None:
        yield "The recorder was killed: what it had written by then is here."
    if recorded.lost:
        yield f"{count_of(recorded.lost, 'sample')} were overwritten before the recorder came: this machine is busy."
    if report.impossible:
        yield f"{count_of(report.impossible, 'sample')} with impossible times were left out: a client wrote nonsense."
    if recorded.trouble:
        yield f"For a while nobody could ask owners to follow records: {recorded.trouble}"
