"""Where a member runs, as its group's records say it, and whether that process lives: also for who comes later.

shmlog:<client id>:<pid>:<start time>     pid 0: it is in another pid namespace
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shmlog.control import life
from shmlog.control.paths import RuntimePaths
from shmlog.control.peer import start_time

_TEXT = re.compile(r"shmlog:(\d{1,19}):(\d{1,10}):(\d{1,19})")


@dataclass(frozen=True, slots=True)
class MemberHost:
    """A client registration, and the process that has it; its start time is in clock ticks since boot."""

    client_id: int
    pid: int
    start_time: int

    @classmethod
    def of(cls, client_id: int, pid: int) -> MemberHost:
        """Of a process that lives."""
        return cls(client_id, pid, start_time(pid))

    @classmethod
    def parse(cls, text: str) -> MemberHost | None:
        """None: that is no process of this host."""
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(*map(int, found.groups()))

    def __str__(self) -> str:
        return f"shmlog:{self.client_id}:{self.pid}:{self.start_time}"

    def is_registered(self, paths: RuntimePaths) -> bool:
        """Whether it holds its life lock."""
        return life.holder(paths.life(self.client_id)) is not None

    def is_running(self) -> bool:
        """Whether the process is there, whatever became of its registration: after a restart of the whole cluster it
        has another one."""
        return bool(self.pid and self.start_time) and start_time(self.pid) == self.start_time
