"""A disk that is full soon: a tmpfs of a few mebibytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk or make a control group")


class SmallDisk:
    """A tmpfs of `mebibytes` at `path`."""

    def __init__(self, path: Path, mebibytes: int) -> None:
        self.path = path
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", path], check=True)

    def resize(self, mebibytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={mebibytes}m", self.path], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture
def small_disk(place: Path) -> Iterator[SmallDisk]:
    """Asked for before a daemon, so that it is unmounted after the daemon has closed."""
    disk = SmallDisk(place / "disk", 12)
    yield disk
    disk.unmount()
