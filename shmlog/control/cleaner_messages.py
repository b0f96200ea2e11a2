"""What is said about compaction: between the supervisor and its cleaner, and to who writes a log that was cleaned.

Everybody imports these from messages.py, which describes the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

# --- supervisor -> cleaner, and back ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CleanLog:
    """Look whether the log in `directory` is to be compacted, and do it, up to `high_watermark` at the most.

    `config` is its topic's, effective. `dedupe_bytes` of memory, so many bytes read and written per second; files are
    made with `file_mode` and `group`. Answered with LogCleaned or LogNotCleaned.
    """

    directory: str
    config: dict[str, str]
    high_watermark: int
    dedupe_bytes: int
    bytes_per_second: int
    file_mode: int
    group: int | None


@dataclass(frozen=True, slots=True)
class CleanedFile:
    """A compacted segment, and those that it is to take the place of: base offsets and sizes of their logs in bytes."""

    base_offsets: list[int]
    sizes_bytes: list[int]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SwapSegments:
    """To an owner or a follower: put what cleaning number `cleaning` has made of its log in its place.

    For the fields see log.swap.CleanedSegments. Answered only if that is not possible, with SwapRefused.
    """

    cleaning: int
    files: list[CleanedFile]
    cleaned_from: int
    first_dirty_offset: int
    delete_horizon_ms: int


@dataclass(frozen=True, slots=True)
class LogCleaned:
    """The files are there, and nobody uses them yet. `said`: in a sentence, what there was and what there is."""

    directory: str
    swap: SwapSegments
    said: str


@dataclass(frozen=True, slots=True)
class LogNotCleaned:
    """There was nothing to do, or it did not go: then `error` says why."""

    directory: str
    error: str


# --- owner, follower -> supervisor ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SwapRefused:
    """What was cleaned does not fit the log any more, or cannot be used now; the log is as it was."""

    message: str


CleanerMessage = CleanLog | LogCleaned | LogNotCleaned
