"""Before the metadata log is opened: is there a copy that has more? What a disk has lost comes back from it.

A log and its copies are written in one order, so each is how the longest one begins. Where that is not so, decisions
were made without one of the disks, and nobody but the user can say which are to count.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from shmlog.errors import ForeignVersionError, StartError
from shmlog.log.mirror import Mirror, SoundLog, first_difference, look_for_sound
from shmlog.log.storage import OsStorage, Storage
from shmlog.supervisor.meta_properties import cluster_of
from shmlog.supervisor.metadata import metadata_directory

log = logging.getLogger(__name__)


def restore(data_dir: str, log_dirs: Sequence[str], cluster_id: str, storage: Storage | None = None) -> str:
    """Bring back into the data directory what only a copy has; returns in one sentence what, "" if nothing.

    Copies that cannot be read now, or are another cluster's, are passed over. Raises StartError for copies that
    contradict the log or each other, and if the data directory refuses what it lacks.
    """
    storage = storage if storage is not None else OsStorage()
    directory = metadata_directory(data_dir)
    ours = look_for_sound(storage, directory)
    copies = [copy for one in log_dirs if (copy := _copy(storage, one, directory, cluster_id)) is not None]
    longest = max([ours, *copies], key=lambda one: one.end_offset)
    for one in [ours, *copies]:
        _require_same(storage, one, longest)
    if longest.end_offset == ours.end_offset:
        return ""
    try:
        storage.mkdir(directory)
        Mirror(storage, longest.directory, directory, ours.sizes).bring(*max(longest.sizes.items()))
    except OSError as error:
        raise StartError(
            f"the metadata log {directory} ends at offset {ours.end_offset}, its copy {longest.directory} at"
            f" {longest.end_offset}, and cannot be restored: {error.strerror}; mend the disk or free space"
        ) from error
    said = (
        f"the metadata log {directory} ended at offset {ours.end_offset}: offsets up to {longest.end_offset} were"
        f" restored from its copy {longest.directory}"
    )
    log.warning("%s", said)
    return said


def _copy(storage: Storage, log_dir: str, directory: str, cluster_id: str) -> SoundLog | None:
    there = metadata_directory(log_dir)
    if there == directory:
        return None
    try:
        return look_for_sound(storage, there) if cluster_of(log_dir) == cluster_id else None
    except (OSError, ForeignVersionError) as error:  # said once more, and better, when the directory is opened
        log.warning("the copy of the metadata log in %s cannot be read: %s", log_dir, error)
        return None


def _require_same(storage: Storage, one: SoundLog, longest: SoundLog) -> None:
    try:
        different = first_difference(storage, one, longest)
    except OSError as error:
        raise StartError(f"{one.directory} cannot be read: {error.strerror}; mend the disk") from error
    if different:
        raise StartError(
            f"{one.directory} and {longest.directory} are to be the same metadata log, and say different things"
            f" (in {different}): the cluster was started without one of these disks meanwhile. Move the one that is not"
            " to count away, for good, and start the cluster again"
        )
