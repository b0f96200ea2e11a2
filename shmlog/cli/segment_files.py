"""Which files are meant by what `shmlog segment` is given: files, partitions' directories, data directories."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from shmlog.errors import InvalidRequestError

SUFFIXES = (".log", ".index", ".timeindex", ".snapshot")


def files_below(paths: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> Iterator[str]:
    """The files themselves; directories become the files of segments in them, or, where there are none, in the
    directories below. Raises InvalidRequestError for what is none of these."""
    for path in paths:
        if not os.path.isdir(path):
            require_file(path, suffixes)
            yield path
            continue
        for directory in partitions_below(path):
            yield from _files_in(directory, suffixes)


def partitions_below(path: str) -> list[str]:
    """The directory itself, if there are files of segments in it, else those below that have some.

    Raises InvalidRequestError without any.
    """
    if _files_in(path, SUFFIXES):
        return [path]
    try:
        below = sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from error
    found = [directory for directory in below if _files_in(directory, SUFFIXES)]
    if not found:
        raise InvalidRequestError(
            f"{path}: no segment files in it or one below; give a partition's directory, such as DATA/orders-0"
        )
    return found


def require_file(path: str, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise InvalidRequestError, naming it, for what is no file with one of these suffixes."""
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from error
    if not is_file:
        raise InvalidRequestError(f"{path}: not a file")
    if not path.endswith(tuple(suffixes)):
        raise InvalidRequestError(f"{path}: its name must end with {' or '.join(suffixes)}")


def _files_in(directory: str, suffixes: Sequence[str]) -> list[str]:
    name = re.compile(rf"\d{{20}}({'|'.join(map(re.escape, suffixes))})")
    try:
        return sorted(entry.path for entry in os.scandir(directory) if name.fullmatch(entry.name))
    except OSError as error:
        raise InvalidRequestError(f"{directory}: {error.strerror}") from error
