"""When groups that nobody uses any more, and their offsets, go."""

from __future__ import annotations

from collections.abc import Mapping

from shmlog.machines.group.liveness import MS
from shmlog.machines.group.offsets import expired
from shmlog.machines.group.records import GroupRecord
from shmlog.machines.group.state import Group

INTERVAL_MS_MAX = 600_000
"""Kafka's offsets.retention.check.interval.ms."""
INTERVAL_MS_MIN = 1_000


class Expiry:
    """Offsets go `retention_ms` after they were committed, and in groups without members only: no sooner than
    `retention_ms` after the last member was seen, which is forgotten with the coordinator's process."""

    def __init__(self, retention_ms: int) -> None:
        self._retention_ms = retention_ms
        self._interval_ns = max(INTERVAL_MS_MIN, min(INTERVAL_MS_MAX, retention_ms // 10)) * MS
        self._due_ns = 0
        self._used_ms: dict[str, int] = {}

    def next_deadline_ns(self, groups: Mapping[str, Group]) -> int | None:
        return self._due_ns if groups else None

    def tick(self, groups: Mapping[str, Group], now_ns: int, now_ms: int) -> list[GroupRecord]:
        """What goes; nothing before the deadline."""
        if now_ns < self._due_ns:
            return []
        self._due_ns = now_ns + self._interval_ns
        self._used_ms = {name: used_ms for name, used_ms in self._used_ms.items() if name in groups}
        records: list[GroupRecord] = []
        for name, group in sorted(groups.items()):
            if group.members:
                self._used_ms[name] = now_ms
            elif name not in self._used_ms or self._used_ms[name] + self._retention_ms <= now_ms:
                records += expired(group, self._retention_ms, now_ms)
        return records
