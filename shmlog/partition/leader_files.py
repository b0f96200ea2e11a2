"""A reader's way to the partition's files, which are the leader's: the next leader may be a replica on another disk.

The control page says which leader epoch it is, and whoever opens the files knows under which epoch it has learned where
they are. So one comparison before each cold read finds out that there is something new to learn, and who reads the ring
never asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from shmlog.log.checkpoint import EpochStart
from shmlog.log.leader_epochs import end_of
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp

SETTLED: Final = (OwnerState.RUN, OwnerState.CLOSING, OwnerState.CLOSED, OwnerState.OFFLINE)
"""States in which the page's offsets are the log's, and the checkpoint has the page's leader epoch."""


class LeaderPage(Protocol):
    """What is looked at in a partition's ctl region (memory.control_page.ControlPage)."""

    @property
    def state(self) -> OwnerState: ...
    @property
    def leader_epoch(self) -> int: ...
    @property
    def log_end_offset(self) -> int: ...


class Segments(Protocol):
    """The partition's files (log.cold.ColdReader)."""

    def read(self, offset: int, max_bytes: int, limit_offset: int) -> bytes | None: ...
    def is_hole(self, limit_offset: int) -> bool: ...
    def offset_for_timestamp(
        self, timestamp_ms: int, limit_offset: int, start_offset: int
    ) -> OffsetAndTimestamp | None: ...
    def leader_epochs(self) -> Sequence[EpochStart]: ...
    def close(self) -> None:
        """Let go of files and memory; the next call opens what it needs."""


OpenFiles = Callable[[int], Segments | None]
"""Opens the files of the leader with that epoch, or of a later one; None while nobody says where they are."""


class LeaderFiles:
    """Opened when they are first needed, and again under every other leader epoch. One thread."""

    def __init__(self, open_files: OpenFiles) -> None:
        self._open_files = open_files
        self._opened: Segments | None = None
        self._leader_epoch = -1
        self.are_unknown = False
        """Whether nobody could say where they are when they were last needed: another try is worth a pause."""

    def under(self, leader_epoch: int) -> Segments | None:
        """The files of the leader with this epoch; None while it is not known where they are."""
        if self._opened is None or leader_epoch != self._leader_epoch:
            self.forget()
            self._opened, self._leader_epoch = self._open_files(leader_epoch), leader_epoch
            self.are_unknown = self._opened is None
        return self._opened

    def end_of_epoch(self, leader_epoch: int, page: LeaderPage) -> int | None:
        """Up to which offset the leader's log is that of the leader with `leader_epoch`, or of those before it.

        Whoever has read under that epoch has read the same up to there (Kafka's KIP-320). None: nobody can tell yet.
        """
        present = page.leader_epoch
        files = self.under(present)
        if files is None or page.state not in SETTLED:
            return None
        end_offset = end_of(leader_epoch, files.leader_epochs(), page.log_end_offset)
        return end_offset if page.leader_epoch == present else None

    def close(self) -> None:
        """Let go of files and memory, and keep what is known of the files."""
        if self._opened is not None:
            self._opened.close()

    def forget(self) -> None:
        """Let go of all of it."""
        self.close()
        self._opened, self.are_unknown = None, False
