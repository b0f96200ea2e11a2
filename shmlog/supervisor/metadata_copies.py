"""Copies of the metadata log, one in every log directory, made beside the supervisor by a thread for each.

A decision counts when it is in the data directory. It is in the copies, too, before anybody is told of it, unless a
copy's disk fails or is slow: that copy is waited for no more until it keeps up again, so that no disk but that of the
data directory can hold a cluster up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from shmlog.errors import ShmlogError, StorageError
from shmlog.limits import COPIES_CLOSE_S, COPY_PATIENCE_S, COPY_RETRY_S
from shmlog.log.mirror import Mirror, first_difference, look_for_sound
from shmlog.log.storage import OsStorage, Storage
from shmlog.supervisor.metadata import Point, metadata_directory

log = logging.getLogger(__name__)


class MetadataCopies:
    """Copies the log of the data directory to those of the log directories, up to where bring() says."""

    def __init__(
        self,
        data_dir: str,
        log_dirs: Sequence[str],
        storage: Storage | None = None,
        look: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`look` says of a log directory why it cannot be used now, as the end of a sentence; "" if it can."""
        self._changed = threading.Condition()
        self._storage = storage if storage is not None else OsStorage()
        self._source = metadata_directory(data_dir)
        self._look = look
        self._copies = [self._copy(one) for one in log_dirs]

    def _copy(self, log_dir: str) -> _Copy:
        return _Copy(self._changed, self._storage, self._source, log_dir, self._look)

    def add(self, log_dir: str) -> None:
        """One more, which bring() does not wait for before it has what the others have."""
        copy = self._copy(log_dir)
        copy.is_behind = True
        self._copies.append(copy)

    def bring(self, point: Point) -> None:
        """Everything of the source before `point` is durable: copy it, and wait for copies that keep up."""
        deadline = monotonic() + COPY_PATIENCE_S
        with self._changed:
            for copy in self._copies:
                copy.wanted = point
                if copy.ident is None:
                    copy.start()
            self._changed.notify_all()
            awaited = [copy for copy in self._copies if not copy.is_behind]
            self._changed.wait_for(
                lambda: all(copy.is_behind or copy.done == point for copy in awaited), deadline - monotonic()
            )
            for copy in awaited:
                if copy.done != point and not copy.is_behind:
                    copy.falls_behind(f"that takes longer than {COPY_PATIENCE_S:g} s")

    def close(self) -> None:
        """Let them finish, for a while; what a copy lacks then it gets at the next start."""
        with self._changed:
            for copy in self._copies:
                copy.closing = True
            self._changed.notify_all()
        deadline = monotonic() + COPIES_CLOSE_S
        for copy in [one for one in self._copies if one.ident is not None]:
            copy.join(max(0.0, deadline - monotonic()))


class _Copy(threading.Thread):
    """One copy. What is not private is read and written under the lock of `changed`."""

    def __init__(
        self, changed: threading.Condition, storage: Storage, source: str, log_dir: str, look: Callable[[str], str]
    ) -> None:
        super().__init__(name="metadata copy", daemon=True)
        self.wanted: Point = (0, 0)
        self.done: Point | None = None
        self.is_behind = False
        """It is not waited for."""
        self.closing = False
        self._changed = changed
        self._storage = storage
        self._source = source
        self._log_dir = log_dir
        self._target = metadata_directory(log_dir)
        self._look = look
        self._mirror: Mirror | None = None

    def falls_behind(self, reason: str) -> None:
        if not self.is_behind:
            self.is_behind = True
            log.warning("the copy of the metadata log in %s is behind and waited for no more: %s", self._target, reason)

    def run(self) -> None:
        while (point := self._next()) is not None:
            began = monotonic()
            error: OSError | ShmlogError | None = None
            try:
                self._bring(point)
            except (OSError, ShmlogError) as caught:
                error = caught
            with self._changed:
                if error is not None:
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    self.falls_behind(reason or str(error))
                    self._changed.notify_all()
                    if self.closing:
                        return
                    self._changed.wait_for(lambda: self.closing, COPY_RETRY_S)
                    continue
                self.done = point
                if self.is_behind and point == self.wanted and monotonic() - began < COPY_PATIENCE_S / 2:
                    self.is_behind = False  # else it would hold up every other decision
                    log.info("the copy of the metadata log in %s keeps up again", self._target)
                self._changed.notify_all()

    def _next(self) -> Point | None:
        with self._changed:
            self._changed.wait_for(lambda: self.closing or self.done != self.wanted)
            return None if self.done == self.wanted else self.wanted

    def _bring(self, point: Point) -> None:
        problem = self._look(self._log_dir)
        if problem:
            self._mirror = None  # what is there when it is back is looked at anew
            raise StorageError(f"{self._log_dir} {problem}")
        if self._mirror is None:
            there = look_for_sound(self._storage, self._target)
            ours = look_for_sound(self._storage, self._source)
            different = first_difference(self._storage, there, ours)
            if different or there.end_offset > ours.end_offset:
                raise StorageError(f"{different or self._target} is not what {self._source} has: move it away")
            self._mirror = Mirror(self._storage, self._source, self._target, there.sizes)
        self._mirror.bring(*point)
