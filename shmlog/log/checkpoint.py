"""The small text files of a partition: identity, leader epochs, recovery point, high watermark, clean-shutdown marker.

partition.metadata        version: 0\\ntopic_id: <22 characters>           Kafka's, no newline at the end
leader-epoch-checkpoint   0\\n<count>\\n<epoch> <start offset>\\n...        Kafka's
recovery-point            0\\n<offset>\\n                                  everything before it was synced
high-watermark            0\\n<offset>\\n                                  all in-sync replicas had everything before it
clean-shutdown            0\\n<end offset> <active base> <bytes of its log, index and time index>\\n
                              there only between a clean close and the next open
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError, ForeignVersionError, InvalidRequestError
from shmlog.log.storage import Storage, read_file, replace_file, rewrite_file

PARTITION_METADATA = "partition.metadata"
LEADER_EPOCHS = "leader-epoch-checkpoint"
RECOVERY_POINT = "recovery-point"
HIGH_WATERMARK = "high-watermark"
CLEAN_SHUTDOWN = "clean-shutdown"
VERSION = 0
DIGITS_MAX = 18
"""No offset, size or epoch has more; a longer number is damage."""


@dataclass(frozen=True, slots=True)
class EpochStart:
    """A leader epoch and the first offset that was written under it."""

    epoch: int
    start_offset: int


@dataclass(frozen=True, slots=True)
class CleanShutdown:
    """Where the log ended when it was closed; worth nothing if the active file has another size now."""

    end_offset: int
    active_base_offset: int
    active_size_bytes: int
    index_bytes: int
    time_index_bytes: int


def read_topic_id(storage: Storage, directory: str) -> str | None:
    """The topic id in partition.metadata; None when there is no such file.

    Raises ForeignVersionError for another version, CorruptRecordError for anything that is not this format.
    """
    path = os.path.join(directory, PARTITION_METADATA)
    try:
        text = read_file(storage, path).decode(errors="replace")
    except FileNotFoundError:
        return None
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    version = fields.get("version", "")
    if version != str(VERSION):
        raise ForeignVersionError(f"{path} has version {version or 'none'}, this shmlog reads version {VERSION}")
    if "topic_id" not in fields:
        raise CorruptRecordError(f"{path} names no topic_id")
    return fields["topic_id"]


def write_topic_id(storage: Storage, directory: str, topic_id: str) -> None:
    text = f"version: {VERSION}\ntopic_id: {topic_id}"
    replace_file(storage, os.path.join(directory, PARTITION_METADATA), text.encode())


def read_leader_epochs(storage: Storage, directory: str) -> list[EpochStart]:
    """All leader epochs of the log, ascending; [] when there is no file or it is damaged beyond use.

    A damaged file costs nothing that the batches do not also say, so the log opens without it.
    """
    numbers = read_numbers(storage, os.path.join(directory, LEADER_EPOCHS))
    if not numbers or len(numbers) != 1 + 2 * numbers[0]:
        return []
    starts = [EpochStart(epoch, start) for epoch, start in zip(numbers[1::2], numbers[2::2], strict=True)]
    ascending = all(a.epoch < b.epoch and a.start_offset <= b.start_offset for a, b in itertools.pairwise(starts))
    return starts if ascending else []


def require_next_epoch(directory: str, starts: list[EpochStart], epoch: int) -> None:
    """Raise InvalidRequestError, naming the file, if `epoch` does not follow the last of `starts`."""
    if starts and epoch <= starts[-1].epoch:
        raise InvalidRequestError(
            f"leader epoch {epoch} does not follow {starts[-1].epoch}, which stands in {directory}/{LEADER_EPOCHS}: the"
            " log is ahead of the cluster's metadata, or the file is damaged; without the file the log opens"
        )


def write_leader_epochs(storage: Storage, directory: str, starts: list[EpochStart]) -> None:
    lines = [f"{VERSION}", f"{len(starts)}", *(f"{start.epoch} {start.start_offset}" for start in starts)]
    replace_file(storage, os.path.join(directory, LEADER_EPOCHS), ("\n".join(lines) + "\n").encode())


def read_recovery_point(storage: Storage, directory: str) -> int:
    """The offset before which every byte was synced; 0 when unknown, so that everything is checked."""
    numbers = read_numbers(storage, os.path.join(directory, RECOVERY_POINT))
    return numbers[0] if len(numbers) == 1 else 0


def write_recovery_point(storage: Storage, directory: str, offset: int) -> None:
    replace_file(storage, os.path.join(directory, RECOVERY_POINT), f"{VERSION}\n{offset}\n".encode())


def read_high_watermark(storage: Storage, directory: str) -> int:
    """An offset before which all in-sync replicas had everything at some time; 0 when unknown."""
    numbers = read_numbers(storage, os.path.join(directory, HIGH_WATERMARK))
    return numbers[0] if len(numbers) == 1 else 0


def write_high_watermark(storage: Storage, directory: str, offset: int) -> None:
    """Nobody relies on it, so it is not synced: after a power loss there may be an older one, or none."""
    rewrite_file(storage, os.path.join(directory, HIGH_WATERMARK), f"{VERSION}\n{offset}\n".encode())


def read_clean_shutdown(storage: Storage, directory: str) -> CleanShutdown | None:
    numbers = read_numbers(storage, os.path.join(directory, CLEAN_SHUTDOWN))
    return CleanShutdown(*numbers) if len(numbers) == 5 else None


def write_clean_shutdown(storage: Storage, directory: str, marker: CleanShutdown) -> None:
    sizes = f"{marker.active_size_bytes} {marker.index_bytes} {marker.time_index_bytes}"
    text = f"{VERSION}\n{marker.end_offset} {marker.active_base_offset} {sizes}\n"
    replace_file(storage, os.path.join(directory, CLEAN_SHUTDOWN), text.encode())


def remove_clean_shutdown(storage: Storage, directory: str) -> None:
    """Durably: from now on the log counts as not cleanly closed."""
    try:
        storage.unlink(os.path.join(directory, CLEAN_SHUTDOWN))
    except FileNotFoundError:
        return
    storage.fsync_dir(directory)


def read_numbers(storage: Storage, path: str) -> list[int]:
    """The numbers after the version line; [] for a missing file and for anything that is not numbers of version 0.

    Every number fits into 64 bits.
    """
    try:
        words = read_file(storage, path).split()
    except FileNotFoundError:
        return []
    if not all(word.isdigit() and len(word) <= DIGITS_MAX for word in words) or not words or int(words[0]) != VERSION:
        return []
    return [int(word) for word in words[1:]]
