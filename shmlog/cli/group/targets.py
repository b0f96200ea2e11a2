"""Where `shmlog group reset-offsets --to` goes: earliest, latest, an offset, a time, or so many records on or back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from shmlog.cli.start_position import WORDS, Start
from shmlog.errors import OffsetOutOfRangeError

if TYPE_CHECKING:
    from shmlog import Cluster, TopicPartition, Watermarks


@dataclass(frozen=True, slots=True)
class Target:
    """Either a place in the log or a distance, in records, from what is committed."""

    start: Start | None = None
    distance: int = 0

    @classmethod
    def parse(cls, text: str) -> Target:
        """From what was written after --to; usage error for anything else."""
        if text[:1] in ("+", "-"):
            if text[1:].isdecimal():
                return cls(distance=int(text))
            raise click.UsageError(f"--to takes +N or -N, to go on by N records or back; not {text!r}")
        try:
            return cls(start=Start.parse(text, "--to"))
        except click.UsageError:
            raise click.UsageError(f"--to takes {WORDS}, or +N or -N; not {text!r}") from None

    def offsets(
        self, cluster: Cluster, ranges: Mapping[TopicPartition, Watermarks], committed: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Where the group goes on in each of `ranges`, which say what can be read: never before that or behind it.

        From where nothing is committed there is no distance: such partitions stay as they are. Raises
        OffsetOutOfRangeError for an offset that is in none of the partitions.
        """
        if self.start is None:
            return {
                place: min(max(committed[place] + self.distance, low), high)
                for place, (low, high) in ranges.items()
                if place in committed
            }
        if self.start.latest:
            return {place: high for place, (_, high) in ranges.items()}
        if self.start.time_ms is not None:
            with cluster.consumer() as consumer:
                consumer.assign(list(ranges))
                found = consumer.offsets_for_times(dict.fromkeys(ranges, self.start.time_ms))
            first = {place: one.offset for place, one in found.items() if one is not None}
            return {place: first.get(place, high) for place, (_, high) in ranges.items()}
        offset = self.start.offset
        if offset is None:
            return {place: low for place, (low, _) in ranges.items()}
        if not any(low <= offset <= high for low, high in ranges.values()):
            known = ", ".join(f"{place} has {low} to {high}" for place, (low, high) in ranges.items())
            raise OffsetOutOfRangeError(f"offset {offset} is in none of the partitions: {known}")
        return {place: min(max(offset, low), high) for place, (low, high) in ranges.items()}
