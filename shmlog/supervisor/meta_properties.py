"""meta.properties, as Kafka calls it: the file that says whose a directory is, made with it and never changed.

    version=1
    cluster.id=pJ2Wd1bUSDm0b4yYQ2vXnA
    directory.id=8W2cQxN1Tq6cEo0TqlSdrw
    shmlog.directory=log
    shmlog.version=0.1.0

`shmlog.directory` is "log" in a log directory, and "data" in the data directory. Data directories of the first days
have neither it nor a directory.id, which is added when a cluster starts with them.
"""

from __future__ import annotations

import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from shmlog.errors import ForeignVersionError, StartError
from shmlog.log.storage import OsStorage
from shmlog.version import VERSION

DATA_VERSION = "1"
META_PROPERTIES = "meta.properties"
_DATA, _LOG = "data", "log"
_HARMLESS = frozenset({".lock", META_PROPERTIES + ".tmp", "supervisor.log", "supervisor.log.1", "lost+found"})
"""What a directory may hold before it is one of ours."""


@dataclass(frozen=True, slots=True)
class DirectoryIdentity:
    """Whose a directory is, and which of theirs."""

    cluster_id: str
    directory_id: str


def random_uuid() -> str:
    """A new id as Kafka writes them: 22 characters of base64url, never beginning with a dash."""
    while True:
        text = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def identify_data_directory(directory: str, group: int | None) -> DirectoryIdentity:
    """What its meta.properties says; a new one is made with a new cluster id.

    Members of `group` may then look into it: they read files there when memory has moved on. Raises StartError for a
    directory that is none of ours, or is a log directory, ForeignVersionError for one of another version.
    """
    found = _read(directory, "data directory")
    if found is None:
        _make_ours(directory, "data directory", group)
        found = _written(directory, _DATA, random_uuid(), random_uuid())
    if found.get("shmlog.directory", _DATA) != _DATA:
        raise StartError(
            f"{directory} is a log directory of the cluster with id {found['cluster.id']}, and cannot be a data"
            " directory: start that cluster with its own data directory and this one as --log-dir, or choose another"
            " data directory"
        )
    if "directory.id" not in found:
        found = {**found, "directory.id": random_uuid()}
        _write(directory, found)
    return DirectoryIdentity(found["cluster.id"], found["directory.id"])


def identify_log_directory(directory: str, cluster_id: str, group: int | None) -> str:
    """The id of a log directory of this cluster, whose meta.properties is made if there is none; see
    identify_data_directory. Raises StartError for another cluster's, and OSError for one that cannot be read."""
    found = _read(directory, "log directory")
    if found is None:
        _make_ours(directory, "log directory", group)
        found = _written(directory, _LOG, cluster_id, random_uuid())
    if found["cluster.id"] != cluster_id:
        raise StartError(
            f"the log directory {directory} belongs to another cluster (its meta.properties has cluster.id"
            f" {found['cluster.id']}, this cluster's is {cluster_id}): give each cluster log directories of its own,"
            " and start the one that this belongs to with its own data directory"
        )
    if found.get("shmlog.directory") != _LOG or "directory.id" not in found:
        raise StartError(
            f"{directory} is the data directory of this cluster, or a copy of it: take it out of log.dirs, or start the"
            " cluster with it as --data-dir"
        )
    return found["directory.id"]


def cluster_of(directory: str) -> str | None:
    """The id of the cluster that a directory belongs to; None for one without meta.properties. Raises OSError,
    ForeignVersionError."""
    found = _read(directory, "directory")
    return None if found is None else found["cluster.id"]


def directory_id_of(directory: str) -> str | None:
    """The id of a directory of ours; None for one without meta.properties. Raises OSError, ForeignVersionError."""
    found = _read(directory, "log directory")
    return None if found is None else found.get("directory.id")


def _read(directory: str, kind: str) -> dict[str, str] | None:
    try:
        with open(os.path.join(directory, META_PROPERTIES), encoding="utf-8", errors="replace") as file:
            found = dict(line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#"))
    except FileNotFoundError:
        return None
    if found.get("version") != DATA_VERSION or "cluster.id" not in found:
        raise ForeignVersionError(
            f"the {kind} {directory} has version {found.get('version', 'none')} (written by shmlog"
            f" {found.get('shmlog.version', 'unknown')}); shmlog {VERSION} reads version {DATA_VERSION}"
        )
    return found


def _make_ours(directory: str, kind: str, group: int | None) -> None:
    foreign = set(os.listdir(directory)) - _HARMLESS
    if foreign:
        raise StartError(
            f"{directory} is not a {kind} of shmlog: it has {sorted(foreign)[0]} but no {META_PROPERTIES};"
            " choose an empty directory"
        )
    if group is not None:
        os.chown(directory, -1, group)
        os.chmod(directory, 0o750)  # noqa: S103  (that is what shm.group asks for)


def _written(directory: str, kind: str, cluster_id: str, directory_id: str) -> dict[str, str]:
    properties = {
        "version": DATA_VERSION,
        "cluster.id": cluster_id,
        "directory.id": directory_id,
        "shmlog.directory": kind,
        "shmlog.version": VERSION,
    }
    _write(directory, properties)
    return properties


def _write(directory: str, properties: dict[str, str]) -> None:
    """Durably, in the place of what is there."""
    path = os.path.join(directory, META_PROPERTIES)
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".tmp", path)
    OsStorage().fsync_dir(directory)
