"""A block device with a cache that a power cut loses, for real file systems below real processes. Needs root.

One file in a file system in user space is the disk, a loop device makes it a block device. What was written to it since
its last flush is at stake: `cut` gives an image with any of that, in sectors, as a disk leaves it when the power goes.
`refuse` makes writes fail, so that the kernel reports them as it does: to the next fdatasync, once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import shutil
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

SECTOR_BYTES = 512
WRITE_BYTES_MAX = 128 * 1024
DISK_NAME = "disk"

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_TRANSFER = struct.Struct("<QQIIQII")
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_CAP_SYS_ADMIN = 21
_DISK = 2  # its node; 1 is the directory that it is in


class _Call(IntEnum):
    """The kernel's requests, by their numbers in linux/fuse.h."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    RELEASEDIR = 29
    INTERRUPT = 36
    BATCH_FORGET = 42


_SILENT = frozenset({_Call.FORGET, _Call.INTERRUPT, _Call.BATCH_FORGET})


def missing() -> str:
    """What this machine lacks for it; "" when it can be had."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if not capabilities >> _CAP_SYS_ADMIN & 1:
        return "mounting needs root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"there is no {path}"
    tools = [tool for tool in ("losetup", "mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    return f"there is no {tools[0]}" if tools else ""


class FuseDisk:
    """The disk: its bytes, what of them is only in its cache, and the thread that serves the kernel."""

    def __init__(self, mount_point: Path, size_bytes: int) -> None:
        self.refuse: Callable[[bytes], bool] = lambda data: False
        """Asked of every write; True fails it with EIO."""
        self.refused = 0
        self._content = bytearray(size_bytes)
        self._durable = bytearray(size_bytes)
        self._at_stake: set[int] = set()  # sectors written since the last flush
        self._lock = threading.Lock()
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"shmlog-disk", os.fsencode(mount_point), b"fuse", 0, options.encode()) != 0:
            code = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(code, os.strerror(code), str(mount_point))
        self._thread = threading.Thread(target=self._serve, name="fuse disk", daemon=True)
        self._thread.start()

    def cut(self, seed: int) -> bytes:
        """The disk as it would be if the power went out at this moment."""
        dice = random.Random(seed)
        keep = dice.choice((0.0, 0.5, 0.9))
        with self._lock:
            image = bytearray(self._durable)
            for sector in sorted(self._at_stake):
                if dice.random() < keep:
                    at = sector * SECTOR_BYTES
                    image[at : at + SECTOR_BYTES] = self._content[at : at + SECTOR_BYTES]
        return bytes(image)

    def close(self) -> None:
        """After the unmount."""
        self._thread.join(5.0)
        os.close(self._fd)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, WRITE_BYTES_MAX + 65536)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue
            length, operation, unique, node, *_ = _IN.unpack_from(request)
            if operation in _SILENT:
                continue
            with self._lock:
                code, answer = self._handle(operation, node, request[_IN.size : length])
            with contextlib.suppress(FileNotFoundError):  # nobody waits for it any more
                os.write(self._fd, _OUT.pack(_OUT.size + len(answer), -code, unique) + answer)

    def _handle(self, operation: int, node: int, body: bytes) -> tuple[int, bytes]:
        match operation:
            case _Call.INIT:
                major, minor, read_ahead, flags = struct.unpack_from("<4I", body)
                taken = flags & (_BIG_WRITES | _MAX_PAGES)
                head = struct.pack("<4I2H2I2H", major, min(minor, 31), read_ahead, taken, 16, 12, WRITE_BYTES_MAX, 1,
                                   WRITE_BYTES_MAX // 4096, 0)  # fmt: skip
                return 0, head.ljust(64, b"\0")
            case _Call.LOOKUP:
                if body.rstrip(b"\0").decode() != DISK_NAME:
                    return errno.ENOENT, b""
                return 0, struct.pack("<4Q2I", _DISK, 0, 3600, 3600, 0, 0) + self._attributes(_DISK)
            case _Call.GETATTR:
                return 0, struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
            case _Call.OPEN | _Call.OPENDIR:
                return 0, struct.pack("<QII", 0, 0, 0)
            case _Call.READ:
                _, at, size, *_ = _TRANSFER.unpack_from(body)
                return 0, bytes(self._content[at : at + size])
            case _Call.WRITE:
                _, at, size, *_ = _TRANSFER.unpack_from(body)
                return self._write(at, body[_TRANSFER.size : _TRANSFER.size + size])
            case _Call.FSYNC:
                for sector in self._at_stake:
                    at = sector * SECTOR_BYTES
                    self._durable[at : at + SECTOR_BYTES] = self._content[at : at + SECTOR_BYTES]
                self._at_stake.clear()
                return 0, b""
            case _Call.STATFS:
                return 0, struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
            case _Call.RELEASE | _Call.FLUSH | _Call.RELEASEDIR:
                return 0, b""
        return errno.ENOSYS, b""

    def _write(self, at: int, data: bytes) -> tuple[int, bytes]:
        if self.refuse(data):
            self.refused += 1
            return errno.EIO, b""
        self._content[at : at + len(data)] = data
        self._at_stake.update(range(at // SECTOR_BYTES, -(-(at + len(data)) // SECTOR_BYTES)))
        return 0, struct.pack("<II", len(data), 0)

    def _attributes(self, node: int) -> bytes:
        is_disk = node == _DISK
        mode = stat.S_IFREG | 0o600 if is_disk else stat.S_IFDIR | 0o700
        size = len(self._content) if is_disk else 0
        return _ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The ext4 file system in an image, mounted at `place`."""
    place.mkdir()
    device = _run("losetup", "-f", "--show", str(image))
    try:
        _run("mount", "-t", "ext4", device, str(place))
        try:
            yield place
        finally:
            _run("umount", str(place))
    finally:
        _run("losetup", "-d", device)


@contextmanager
def ext4_on_a_disk(place: Path, size_bytes: int) -> Iterator[tuple[FuseDisk, Path]]:
    """A new ext4 file system on a new disk, and where it is mounted."""
    point = place / "fuse"
    point.mkdir(parents=True)
    disk = FuseDisk(point, size_bytes)
    try:
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", str(point / DISK_NAME))
        with mounted(point / DISK_NAME, place / "ext4") as file_system:
            yield disk, file_system
    finally:
        _run("umount", str(point))
        disk.close()
