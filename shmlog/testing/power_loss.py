"""A storage that knows what would be left if the power went out now, and makes such directories to recover from.

The files are real, so that the core may write to them past the storage; what it wrote is found by comparing before and
after every call. Beside them stands a model of the disk:

    file        its bytes at the last fdatasync, and every version since of each page and of the size
    directory   its names at the last fsync of it, and every creation, rename and removal since

A crash keeps, of every page, any of its versions, or 512-byte sectors of two of them; any of the sizes; and any subset
of the directory operations, each name's in order, a rename wholly or not at all. That is less than file systems
promise in practice (they keep the order of directory operations, for one) and all that they promise on paper. Two
instants between which nothing was synced need no two looks: the later one has all versions of the earlier.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from shmlog.log.storage import OsStorage

PAGE_BYTES = 4096
SECTOR_BYTES = 512


@dataclass(slots=True)
class _File:
    """One inode. `watch_fd` is ours: it keeps the inode's number from being used again."""

    watch_fd: int
    durable: bytes = b""
    now: bytes = b""
    pages: dict[int, list[bytes]] = field(default_factory=dict)
    """Versions of each page since the last sync, the oldest first."""
    sizes: list[int] = field(default_factory=list)

    def look(self) -> bool:
        """Take in what was written since the last look; whether it was anything."""
        now = os.pread(self.watch_fd, os.fstat(self.watch_fd).st_size, 0)
        if now == self.now:
            return False
        for number, (before, after) in enumerate(zip_longest(_pages(self.now), _pages(now), fillvalue=b"")):
            if before != after:
                self.pages.setdefault(number, []).append(after)
        if len(now) != len(self.now):
            self.sizes.append(len(now))
        self.now = now
        return True

    def settle(self, content: bytes) -> None:
        """`content` has reached the disk; only what was written after it was read is still at stake."""
        self.durable = content
        self.pages.clear()
        self.sizes.clear()
        self.now = content
        self.look()

    def after_crash(self, dice: random.Random, keep: float) -> bytes:
        """What the disk may hold: `keep` is how likely anything newer than the last sync is there."""
        size = dice.choice(self.sizes) if self.sizes and dice.random() < keep else len(self.durable)
        old = list(_pages(self.durable))
        pages = []
        for number in range(-(-size // PAGE_BYTES)):
            versions = [old[number] if number < len(old) else b"", *self.pages.get(number, [])]
            newest = versions[-1] if keep == 1 else dice.choice(versions)
            page = newest if dice.random() < keep else versions[0]
            other = dice.choice(versions) if 0 < keep < 1 and dice.random() < 0.3 else page
            pages.append(_torn(page.ljust(PAGE_BYTES, b"\0"), other.ljust(PAGE_BYTES, b"\0"), dice))
        return b"".join(pages)[:size]


@dataclass(slots=True)
class _Directory:
    """Names and what they stand for. An operation is what it makes of names: a new thing, or None for nothing."""

    names: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)
    operations: list[dict[str, _Node | None]] = field(default_factory=list)

    def change(self, operation: dict[str, _Node | None]) -> None:
        self.operations.append(operation)
        _apply(self.names, operation)

    def settle(self) -> None:
        self.durable = dict(self.names)
        self.operations.clear()

    def after_crash(self, dice: random.Random, keep: float) -> dict[str, _Node]:
        left = dict(self.durable)
        for operation in self.operations:
            if dice.random() < keep:
                _apply(left, operation)
        return left


_Node = _File | _Directory


def _apply(names: dict[str, _Node], operation: dict[str, _Node | None]) -> None:
    for name, node in operation.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _pages(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES))


def _torn(page: bytes, other: bytes, dice: random.Random) -> bytes:
    if page == other:
        return page
    sectors = range(0, PAGE_BYTES, SECTOR_BYTES)
    return b"".join((page if dice.random() < 0.5 else other)[at : at + SECTOR_BYTES] for at in sectors)


class PowerLossStorage(OsStorage):
    """Everything below `root` can be lost. What is there at the beginning is on the disk.

    `on_call` is called with the operation's name after everything that changes what a crash would leave, also writes
    past this storage ("write"), but not inside itself. `meanwhile` is called once in the middle of the next fdatasync:
    what it does comes too late for that sync.
    """

    def __init__(self, root: str, on_call: Callable[[str], None] = lambda operation: None) -> None:
        super().__init__()
        self.root = os.path.abspath(root)
        self.on_call = on_call
        self.meanwhile: Callable[[], None] | None = None
        self.calls = 0
        self._files: dict[tuple[int, int], _File] = {}
        self._opened: set[int] = set()
        self._busy = False
        self._tree = self._load(self.root)

    def _load(self, path: str) -> _Directory:
        directory = _Directory()
        for entry in os.scandir(path):
            directory.names[entry.name] = self._load(entry.path) if entry.is_dir() else self._watch(entry.path)
        directory.settle()
        return directory

    def _watch(self, path: str) -> _File:
        file = _File(os.open(path, os.O_RDONLY))
        found = os.fstat(file.watch_fd)
        self._files[found.st_dev, found.st_ino] = file
        file.look()
        file.settle(file.now)
        return file

    # --- what is left after a crash -----------------------------------------------------------------------------------

    def crash(self, target: str, seed: int) -> None:
        """Make a directory at `target` as it may be found when the power comes back.

        Seed 0 keeps only what was synced, 1 everything, 2 names and 3 contents only; the others draw lots.
        """
        dice = random.Random(seed)
        fixed = {0: (0.0, 0.0), 1: (1.0, 1.0), 2: (1.0, 0.0), 3: (0.0, 1.0)}
        keep_names, keep_bytes = fixed.get(seed, (dice.choice((0.2, 0.5, 0.9)), dice.choice((0.2, 0.5, 0.9))))
        self.look()
        self._make(self._tree, target, dice, keep_names, keep_bytes)

    def _make(self, node: _Directory, path: str, dice: random.Random, keep_names: float, keep_bytes: float) -> None:
        os.mkdir(path)
        for name, child in node.after_crash(dice, keep_names).items():
            place = os.path.join(path, name)
            if isinstance(child, _Directory):
                self._make(child, place, dice, keep_names, keep_bytes)
            else:
                with open(place, "wb") as file:
                    file.write(child.after_crash(dice, keep_bytes))

    def look(self) -> bool:
        """Take in what was written past this storage; whether it was anything."""
        return sum(file.look() for file in self._files.values()) > 0

    def close_all(self) -> None:
        """Close what the killed user of this storage had open, and what belongs to the model."""
        for fd in self._opened:
            os.close(fd)
        for file in self._files.values():
            os.close(file.watch_fd)
        self._opened.clear()
        self._files.clear()

    # --- the storage --------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        self._before()
        is_new = bool(flags & os.O_CREAT) and not os.path.exists(path)
        fd = super().open(path, flags)
        self._opened.add(fd)
        if is_new:
            self._parent(path).change({os.path.basename(path): self._watch(path)})
        if is_new or flags & os.O_TRUNC:
            self._after("open")
        return fd

    def close(self, fd: int) -> None:
        self._opened.discard(fd)
        super().close(fd)

    def pwrite(self, fd: int, data: bytes, position: int) -> None:
        self._before()
        super().pwrite(fd, data, position)
        self._after("pwrite")

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._before()
        super().truncate(fd, size_bytes)
        self._after("truncate")

    def fdatasync(self, fd: int) -> None:
        self._before()
        found = os.fstat(fd)
        file = self._files[found.st_dev, found.st_ino]
        content, meanwhile = file.now, self.meanwhile
        if meanwhile is not None:
            self.meanwhile = None
            meanwhile()
            self.look()
        file.settle(content)
        self._after("fdatasync")

    def fsync_dir(self, path: str) -> None:
        self._before()
        self._directory(path).settle()
        self._after("fsync_dir")

    def rename(self, old: str, new: str) -> None:
        self._before()
        super().rename(old, new)
        parent = self._parent(old)
        moved = parent.names[os.path.basename(old)]
        parent.change({os.path.basename(old): None, os.path.basename(new): moved})
        self._after("rename")

    def unlink(self, path: str) -> None:
        self._before()
        super().unlink(path)
        self._parent(path).change({os.path.basename(path): None})
        self._after("unlink")

    def mkdir(self, path: str) -> bool:
        self._before()
        created = super().mkdir(path)
        if created:
            self._parent(path).change({os.path.basename(path): _Directory()})
            self._after("mkdir")
        return created

    def _before(self) -> None:
        if self.look():
            self._after("write")

    def _after(self, operation: str) -> None:
        self.look()
        self.calls += 1
        if not self._busy:
            self._busy = True
            try:
                self.on_call(operation)
            finally:
                self._busy = False

    def _parent(self, path: str) -> _Directory:
        return self._directory(os.path.dirname(path))

    def _directory(self, path: str) -> _Directory:
        node = self._tree
        for part in filter(None, os.path.relpath(path, self.root).split(os.sep)):
            if part != ".":
                child = node.names[part]
                assert isinstance(child, _Directory), path
                node = child
        return node
