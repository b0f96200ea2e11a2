"""A partition's directory that Kafka wrote: how it is told from ours, and what is different in it.

Kafka leaves no note of what its cleaner took away, so holes are legal everywhere in it. What it knows of all partitions
of a log directory stands in checkpoints beside their directories.
"""

from __future__ import annotations

import os
from typing import Final

from shmlog.log.checkpoint import CLEAN_SHUTDOWN, HIGH_WATERMARK, RECOVERY_POINT
from shmlog.log.compaction_checkpoint import COMPACTION_CHECKPOINT, dense_from
from shmlog.log.log_start import LOG_START, read_log_start
from shmlog.log.segment import OFFSET_MAX
from shmlog.log.storage import OsStorage, Storage, read_file

LOG_START_OFFSETS: Final = "log-start-offset-checkpoint"
SWAP_SUFFIX: Final = ".swap"
_OURS: Final = frozenset({RECOVERY_POINT, HIGH_WATERMARK, CLEAN_SHUTDOWN, COMPACTION_CHECKPOINT, LOG_START})
_META_PROPERTIES: Final = "meta.properties"
_OF_BROKERS: Final = ("node.id=", "broker.id=")


def is_kafkas(storage: Storage, directory: str) -> bool:
    """Whether nothing in or beside a partition's directory says that it is ours: no file of ours, nor of our clusters.

    Raises OSError.
    """
    if _OURS.intersection(storage.listdir(directory)):
        return False
    try:
        lines = read_file(storage, os.path.join(os.path.dirname(directory), _META_PROPERTIES)).decode(errors="replace")
    except FileNotFoundError:
        return True
    return any(line.startswith(_OF_BROKERS) for line in lines.splitlines())


def sparse_until(storage: Storage, directory: str) -> int:
    """Before this offset, holes in the log are compaction's; from there on they are damage."""
    return OFFSET_MAX if is_kafkas(storage, directory) else dense_from(storage, directory)


def read_log_start_offset(storage: Storage, directory: str) -> int:
    """Where the log of this partition directory begins by our note in it or Kafka's checkpoint beside it; 0 if neither
    says.

    The checkpoint's lines: version 0, how many entries there are, and `<topic> <partition> <offset>` for each. A broker
    writes it now and then, so it may be behind.
    """
    noted = read_log_start(storage, directory)
    if noted:
        return noted
    name = os.path.basename(directory)
    try:
        text = read_file(storage, os.path.join(os.path.dirname(directory), LOG_START_OFFSETS)).decode(errors="replace")
    except FileNotFoundError:
        return 0
    for line in text.splitlines()[2:]:
        words = line.split(" ")
        if len(words) == 3 and f"{words[0]}-{words[1]}" == name and words[2].isdecimal():
            return min(int(words[2]), OFFSET_MAX)
    return 0


class KafkaStorage(OsStorage):
    """Kafka's directories as the broker's next start would have them, for reading.

    A broker that died while it put a cleaned segment in the place of older ones may have left it as `.swap`, with those
    already renamed.
    """

    def open(self, path: str, flags: int) -> int:
        try:
            return super().open(path, flags)
        except FileNotFoundError:
            return super().open(path + SWAP_SUFFIX, flags)

    def listdir(self, path: str) -> list[str]:
        names = super().listdir(path)
        there = set(names)
        swapped = (name.removesuffix(SWAP_SUFFIX) for name in names if name.endswith(SWAP_SUFFIX))
        return names + [name for name in swapped if name not in there]
