"""The counted core: every store into shared memory calls preload.c, which stands in front of the C library, too."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from shmlog.testing import variant_build

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


def counted_core() -> Path:
    """What belongs into PYTHONPATH in front of everything."""
    hooks = HERE / "points.h"
    version = hashlib.sha256(hooks.read_bytes()).hexdigest()[:8]
    return variant_build.build(ROOT, "crash-points", ["-O1", "-include", str(hooks), f"-DSHMLOG_POINTS=0x{version}"])


def counter(directory: Path) -> Path:
    """The library to preload, made in `directory`."""
    made = directory / "preload.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(made), str(HERE / "preload.c"), "-ldl"]
    subprocess.run(command, check=True)
    return made


def environment(core: Path, library: Path) -> dict[str, str]:
    """For a process that counts its points and imports this package."""
    return {**os.environ, "PYTHONPATH": f"{core}:{ROOT}", "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
