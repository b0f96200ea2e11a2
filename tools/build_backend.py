"""The build backend that pyproject.toml names: setuptools, with three things done first.

shmlog needs Linux (futexes, pidfds, /dev/shm), so on anything else an install stops here with one sentence instead of
a page of compiler errors. Wheels are built in a directory of their own, because setuptools packs whatever an earlier
version left in `build/`. And Cython runs before the C compiler does, in processes: setuptools can compile extension
modules in parallel, but calls Cython from threads then, which share state in it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import tomllib
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


def build_wheel(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel into `wheel_directory` and return its file name."""
    with _prepared():
        name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
        return name


def build_editable(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """Compile the extension modules in place and return the name of the wheel that points at this checkout."""
    with _prepared():
        name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
        return name


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Write the C files, then let setuptools build in an empty directory, a compiler per processor."""
    processors = len(os.sched_getaffinity(0))
    _write_c_files(processors)
    with tempfile.TemporaryDirectory(prefix="shmlog-build-") as directory:
        config = Path(directory, "setup.cfg")
        config.write_text(f"[build]\nbuild_base = {directory}/build\n[build_ext]\nparallel = {processors}\n")
        before = os.environ.get("DIST_EXTRA_CONFIG")
        os.environ["DIST_EXTRA_CONFIG"] = str(config)
        try:
            yield
        finally:
            del os.environ["DIST_EXTRA_CONFIG"]
            if before is not None:
                os.environ["DIST_EXTRA_CONFIG"] = before


def _write_c_files(processes: int) -> None:
    """Translate each extension module whose C file is missing or older than its sources; setuptools then finds it."""
    from Cython.Build import cythonize  # a build requirement, absent where only the check above matters

    modules = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    cythonize([source for module in modules for source in module["sources"]], nthreads=processes, quiet=True)
