"""Processes that end with the test that started them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import AnyStr


@contextmanager
def killed_afterwards(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill the process when the block is left, also by a failure, wait for it, and close its pipes."""
    with process:
        try:
            yield process
        finally:
            process.kill()  # does nothing to one whose end was waited for
