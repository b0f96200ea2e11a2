"""Compaction's own process: it decides for one log after the other, and writes new files beside the old ones.

Everything in a log's directory but its own `.cleaned` files it only reads, without asking anybody. What it makes is put
in its place, or removed, by who writes that log.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass

from shmlog.clock import wall_ms
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import CleanedFile, CleanLog, LogCleaned, LogNotCleaned, SwapSegments
from shmlog.errors import ShmlogError
from shmlog.limits import IDLE_SLEEP_S
from shmlog.log.checkpoint import read_recovery_point
from shmlog.log.compaction import Cleaned, clean
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.segment import list_base_offsets
from shmlog.log.segment_facts import compaction_facts
from shmlog.log.segment_pass import Budget
from shmlog.log.storage import OsStorage
from shmlog.machines.compaction import CompactionDecision, decide_compaction
from shmlog.native.compaction import SLOT_BYTES
from shmlog.settings import TopicConfig

CLEANING_BITS = 53
"""Of the number in the names of a cleaning's files: so many that no two cleanings of a log have the same."""
SLOTS_MIN = 1024


class AbandonedError(ShmlogError):
    """The supervisor is gone: nobody is there who would have the files put in their places."""

    name = "ABANDONED"


@dataclass(slots=True)
class Pace:
    """As many bytes a second as are allowed, and no more work for a supervisor that is gone."""

    channel: Channel
    bytes_per_second: int
    _due: float = 0.0

    def __call__(self, read: int, written: int) -> None:
        if self.channel.is_hung_up:
            raise AbandonedError("the supervisor is gone")
        now = time.monotonic()
        self._due = max(self._due, now) + (read + written) / self.bytes_per_second
        if self._due > now:
            time.sleep(min(self._due - now, IDLE_SLEEP_S))


def serve(channel: Channel) -> None:
    """Clean what is asked for, until the supervisor closes the channel or dies."""
    try:
        while True:
            job = channel.receive(IDLE_SLEEP_S)
            if job is not None:
                assert isinstance(job, CleanLog), job
                channel.send(clean_log(job, Pace(channel, job.bytes_per_second)))
                channel.flush(IDLE_SLEEP_S)
    except (ChannelClosedError, AbandonedError):
        return


def clean_log(job: CleanLog, budget: Budget) -> LogCleaned | LogNotCleaned:
    """Raises AbandonedError; what else goes wrong is in the answer."""
    storage = OsStorage(job.file_mode, job.group)
    try:
        decision = _decide(storage, job)
        if decision is None:
            return LogNotCleaned(job.directory, "")
        return _clean(storage, job, decision, budget)
    except AbandonedError:
        raise
    except (OSError, ShmlogError) as error:
        return LogNotCleaned(job.directory, str(error))


def _decide(storage: OsStorage, job: CleanLog) -> CompactionDecision | None:
    checkpoint = read_compaction_checkpoint(storage, job.directory)
    return decide_compaction(
        [
            compaction_facts(storage, job.directory, base_offset)
            for base_offset in list_base_offsets(storage, job.directory)
        ],
        TopicConfig.from_mapping(job.config),
        now_ms=wall_ms(),
        first_dirty_offset=checkpoint.first_dirty_offset,
        uncleanable_offset=min(job.high_watermark, read_recovery_point(storage, job.directory)),
        delete_horizon_ms=checkpoint.delete_horizon_ms,
    )


def _clean(storage: OsStorage, job: CleanLog, decision: CompactionDecision, budget: Budget) -> LogCleaned:
    began = time.monotonic()
    cleaning = int.from_bytes(os.urandom(8), "big") >> (64 - CLEANING_BITS)
    with mmap.mmap(-1, _map_bytes(job, decision)) as pages, memoryview(pages) as memory:
        cleaned = clean(storage, job.directory, decision, memory, cleaning=cleaning, now_ms=wall_ms(), budget=budget)
    return LogCleaned(job.directory, _order(cleaned), _said(job, decision, cleaned, time.monotonic() - began))


def _map_bytes(job: CleanLog, decision: CompactionDecision) -> int:
    """No more than there can be keys."""
    records = max(SLOTS_MIN, decision.end_offset - decision.first_dirty_offset)
    return min(job.dedupe_bytes, 2 * SLOT_BYTES * records)


def _order(cleaned: Cleaned) -> SwapSegments:
    made = cleaned.segments
    return SwapSegments(
        cleaning=made.cleaning,
        files=[CleanedFile([*one.base_offsets], [*one.sizes_bytes], one.size_bytes) for one in made.groups],
        cleaned_from=made.cleaned_from,
        first_dirty_offset=made.first_dirty_offset,
        delete_horizon_ms=made.delete_horizon_ms,
    )


def _said(job: CleanLog, decision: CompactionDecision, cleaned: Cleaned, seconds: float) -> str:
    rest = "" if cleaned.is_complete else "; more keys than there is memory for: the rest is for the next pass"
    return (
        f"{job.directory} was compacted up to offset {cleaned.segments.first_dirty_offset} ({decision.reason}): "
        f"{cleaned.records_kept} of {cleaned.records_read} records stay, {cleaned.bytes_written} bytes, "
        f"{cleaned.keys} keys, in {seconds:.1f} s{rest}"
    )
