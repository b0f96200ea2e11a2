"""The real owner with less patience: it closes a lane that is silent for a moment, and not for 30 s."""

from __future__ import annotations

import importlib

from shmlog.control.messages import OwnerSpec
from shmlog.partition import owner as partition_owner

partition_owner.LANE_IDLE_CLOSE_S = 0.2  # type: ignore[attr-defined]  # imported there from limits
partition_owner.IDLE_SLEEP_S = 0.1  # type: ignore[attr-defined]  # likewise


def main(spec: OwnerSpec, channel_fd: int) -> int:
    owner = importlib.import_module("shmlog.workers.owner")
    return int(owner.main(spec, channel_fd))
