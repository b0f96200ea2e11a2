"""The page in which a counted process says how far it came, shared with the process that watches it."""

from __future__ import annotations

import ctypes
import mmap
import signal
from collections import Counter

TRACE_MAX = 65536
KINDS = {
    "s": "store",
    "c": "inside a copy",
    "o": "open, creating",
    "w": "write",
    "t": "ftruncate",
    "a": "fallocate",
    "r": "rename",
    "u": "unlink",
    "d": "mkdir or rmdir",
    "m": "chmod",
    "n": "shm_open",
    "f": "fsync",
}


class _Fields(ctypes.Structure):
    _fields_ = (
        ("points", ctypes.c_uint64),
        ("syscalls", ctypes.c_uint64),
        ("kill_at", ctypes.c_uint64),
        ("aside_points", ctypes.c_uint64),
        ("freeze_aside_at", ctypes.c_uint64),
        ("aside_frozen", ctypes.c_uint64),
        ("signal", ctypes.c_uint64),
        ("trace", ctypes.c_ubyte * TRACE_MAX),
    )


class CountPage:
    """Made before the fork; `arm` is called by the process that is to be counted, from then on."""

    def __init__(self, kill_at: int = 0, freeze_aside_at: int = 0, number: int = signal.SIGKILL) -> None:
        self._memory = mmap.mmap(-1, ctypes.sizeof(_Fields))
        self.fields = _Fields.from_buffer(self._memory)
        self.fields.kill_at = kill_at
        self.fields.freeze_aside_at = freeze_aside_at
        self.fields.signal = number

    def arm(self) -> None:
        library = ctypes.CDLL(None)  # preload.so has put its names in front of everything
        library.crash_points_arm(ctypes.byref(self.fields))

    @staticmethod
    def disarm() -> None:
        ctypes.CDLL(None).crash_points_arm(None)

    @property
    def points(self) -> int:
        return int(self.fields.points)

    @property
    def is_aside_frozen(self) -> bool:
        """Whether the other thread has stopped at its point."""
        return bool(self.fields.aside_frozen)

    @property
    def aside_points(self) -> int:
        return int(self.fields.aside_points)

    def kind(self, point: int) -> str:
        """What the n-th point (from 1) lies before."""
        return KINDS[chr(self.fields.trace[point - 1])] if 1 <= point <= min(self.points, TRACE_MAX) else "nothing"

    def kinds(self) -> Counter[str]:
        return Counter(self.kind(point) for point in range(1, min(self.points, TRACE_MAX) + 1))
