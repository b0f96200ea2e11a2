"""Where `shmlog consume --from` begins: earliest, latest, an offset, or a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from shmlog.errors import OffsetOutOfRangeError

if TYPE_CHECKING:
    from shmlog import Consumer, TopicPartition, Watermarks

WORDS = (
    "earliest, latest, an offset such as 42, or @TIME: milliseconds since 1970 or 2013-01-31T08:00:00+00:00"
    " (without +HH:MM or Z: in the time zone of this process)"
)


@dataclass(frozen=True, slots=True)
class Start:
    """Exactly one of these is set, or none: the earliest record."""

    latest: bool = False
    offset: int | None = None
    time_ms: int | None = None

    @classmethod
    def parse(cls, text: str, option: str = "--from") -> Start:
        """From what was written after `option`; usage error for anything else."""
        if text in ("earliest", "latest"):
            return cls(latest=text == "latest")
        if text.isdecimal():
            return cls(offset=int(text))
        if text.startswith("@"):
            time = text[1:]
            if time.isdecimal():
                return cls(time_ms=int(time))
            try:
                return cls(time_ms=round(dt.datetime.fromisoformat(time).timestamp() * 1000))
            except ValueError:
                pass
        raise click.UsageError(f"{option} takes {WORDS}; not {text!r}")

    def apply(self, consumer: Consumer, ranges: dict[TopicPartition, Watermarks]) -> None:
        """Seek in all of `ranges`, the partitions that are read and what can be read of them.

        Raises OffsetOutOfRangeError if the offset is in none of them; in a partition that has less, reading begins at
        its end, and in one that has lost the beginning, at the first record that is left.
        """
        if self.latest:
            consumer.seek_to_end()
        elif self.offset is not None:
            self._check_offset(self.offset, ranges)
            for place, (low, high) in ranges.items():
                consumer.seek(place, min(max(self.offset, low), high))
        elif self.time_ms is not None:
            for place, found in consumer.offsets_for_times(dict.fromkeys(ranges, self.time_ms)).items():
                if found is None:
                    consumer.seek_to_end(place)
                else:
                    consumer.seek(place, found.offset)
        else:
            consumer.seek_to_beginning()

    @staticmethod
    def _check_offset(offset: int, ranges: dict[TopicPartition, Watermarks]) -> None:
        if any(low <= offset <= high for low, high in ranges.values()):
            return
        raise OffsetOutOfRangeError(
            f"offset {offset} is in none of the partitions that are read: {_in_words(ranges.items())}; see --from"
        )


def _in_words(ranges: Iterable[tuple[TopicPartition, Watermarks]]) -> str:
    return ", ".join(f"{place} has {low} to {high}" for place, (low, high) in ranges)
