"""Making, opening and removing shared-memory regions. The only place that calls posix_ipc."""

from __future__ import annotations

import contextlib
import errno
import os

import posix_ipc

from shmlog.errors import CorruptRecordError, ShmBudgetExceededError
from shmlog.limits import PAGE_BYTES
from shmlog.memory.names import PREFIX
from shmlog.native.mapping import Mapping

SHM_DIRECTORY = "/dev/shm"  # noqa: S108  (it is where POSIX shared memory lives, not a place for scratch files)

INDEX_ENTRIES_MIN = 1024
INDEX_RING_BYTES_PER_ENTRY = 1024


def page_align(size_bytes: int) -> int:
    """`size_bytes` rounded up to whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def index_entries(ring_bytes: int) -> int:
    """Commit entries that go with a ring: a power of two, one for every kilobyte or more."""
    return max(INDEX_ENTRIES_MIN, 1 << (ring_bytes // INDEX_RING_BYTES_PER_ENTRY - 1).bit_length())


def create(name: str, size_bytes: int, *, mode: int = 0o600, group: int | None = None) -> None:
    """Make a region of `size_bytes` (whole pages, zeroed) and take its memory at once.

    The memory is reserved now so that a full /dev/shm is an error here and never a SIGBUS in somebody's process.
    Raises FileExistsError, or ShmBudgetExceededError with the figures.
    """
    try:
        region = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=mode, size=0)
    except posix_ipc.ExistentialError:
        raise FileExistsError(errno.EEXIST, "a shared-memory region of that name exists", name) from None
    try:
        os.fchmod(region.fd, mode)  # the umask took bits away
        if group is not None:
            os.fchown(region.fd, -1, group)
        os.posix_fallocate(region.fd, 0, size_bytes)
    except OSError as error:
        posix_ipc.unlink_shared_memory(name)
        if error.errno in (errno.ENOSPC, errno.ENOMEM):
            raise ShmBudgetExceededError(
                f"cannot reserve {size_bytes} bytes of shared memory for {name}: {free_bytes()} bytes are free in"
                f" {SHM_DIRECTORY}; enlarge it (mount -o remount,size=..., docker --shm-size) or use fewer or smaller"
                " partitions (shm.ring.bytes, max.message.bytes)"
            ) from error
        raise
    finally:
        region.close_fd()


def open_region(name: str, *, writable: bool = False, doubled_from: int = -1) -> Mapping:
    """Map an existing region. Raises FileNotFoundError, PermissionError or CorruptRecordError."""
    fd = os.open(SHM_DIRECTORY + name, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return Mapping(fd, os.fstat(fd).st_size, writable=writable, doubled_from=doubled_from)
    except ValueError as error:  # somebody has cut it
        raise CorruptRecordError(f"region {name} cannot be mapped: {error}") from error
    finally:
        os.close(fd)


def exists(name: str) -> bool:
    return os.path.exists(SHM_DIRECTORY + name)


def identity(name: str) -> tuple[int, int] | None:
    """Tells one region from a later one of the same name; None if there is none now."""
    try:
        status = os.stat(SHM_DIRECTORY + name)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def unlink(name: str) -> None:
    """Remove the name; who has the region mapped keeps it. Removing what is not there is fine."""
    with contextlib.suppress(posix_ipc.ExistentialError):
        posix_ipc.unlink_shared_memory(name)


def list_names() -> list[str]:
    """The names of everything in shared memory, also of what is not ours; much cheaper than list_regions()."""
    return ["/" + name for name in os.listdir(SHM_DIRECTORY)]


def list_regions(tag: str | None = None) -> list[tuple[str, int]]:
    """Names and sizes in bytes of the regions of one cluster, or of all clusters, sorted."""
    prefix = PREFIX[1:] + (f"{tag}." if tag is not None else "")
    found: list[tuple[str, int]] = []
    with os.scandir(SHM_DIRECTORY) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    found.append(("/" + entry.name, entry.stat().st_size))
    return sorted(found)


def sweep(tag: str) -> list[str]:
    """Remove all regions of one cluster; returns their names."""
    names = [name for name, _ in list_regions(tag)]
    for name in names:
        unlink(name)
    return names


def free_bytes() -> int:
    """What is free in /dev/shm right now."""
    status = os.statvfs(SHM_DIRECTORY)
    return status.f_bavail * status.f_frsize
