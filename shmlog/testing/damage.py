"""Ways in which an index file can be damaged: for tests that want all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def append_zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(240))


def flip_in_the_last_entry(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"\xfe\xdc\xba\x98" * 60)


def append_entries_from_beyond(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x7f" * 24)


def flip_in_the_last_entrys_first_field(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5 if path.suffix == ".index" else -6] ^= 1
    path.write_bytes(data)


EVERY_DAMAGE: list[Damage] = [
    remove,
    empty,
    shorten,
    append_zeros,
    append_entries_from_beyond,
    flip_in_the_last_entry,
    flip_in_the_last_entrys_first_field,
    fill_with_garbage,
]
