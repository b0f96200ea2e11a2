"""The build backend that pyproject.toml names: setuptools, with two things said first.

shmlog needs Linux (futexes, pidfds, /dev/shm), so on anything else an install stops here with one sentence instead of
a page of compiler errors. And wheels are built in a directory of their own: setuptools packs whatever an earlier
version left in `build/`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "linux":
    sys.exit(f"shmlog runs on Linux only, and this is {sys.platform}: it stands on futexes, pidfds and /dev/shm.")

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, str | list[str] | None]


@contextlib.contextmanager
def _settings_of_our_own() -> Iterator[None]:
    """Build in an empty directory, as many extension modules at once as there are processors."""
    with tempfile.TemporaryDirectory(prefix="shmlog-build-") as directory:
        config = Path(directory, "setup.cfg")
        processors = len(os.sched_getaffinity(0))
        config.write_text(f"[build]\nbuild_base = {directory}/build\n[build_ext]\nparallel = {processors}\n")
        before = os.environ.get("DIST_EXTRA_CONFIG")
        os.environ["DIST_EXTRA_CONFIG"] = str(config)
        try:
            yield
        finally:
            del os.environ["DIST_EXTRA_CONFIG"]
            if before is not None:
                os.environ["DIST_EXTRA_CONFIG"] = before


def build_wheel(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel into `wheel_directory` and return its file name."""
    with _settings_of_our_own():
        name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
        return name


def build_editable(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Compile the extension modules in place and return the name of the wheel that points at this checkout."""
    with _settings_of_our_own():
        name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
        return name
