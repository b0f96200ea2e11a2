"""A topic in one file: a tar archive of a manifest, the batches as they lie in the log, and what there must be of them.

    manifest.json                            what the topic is, and from which to which offset each partition goes
    <partition>/<base offset>.batches        whole batches, one member after the other, as in `.log` files
    end.json                                 how many bytes and records each partition has, and a checksum over them

The manifest comes first and the end last, so an archive is written and read in one go, and half of one is noticed. With
a name that ends with .gz or .tgz all of it is compressed.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import orjson

from shmlog.errors import CorruptRecordError, ForeignVersionError, InvalidRequestError
from shmlog.native.checksum import crc32c

FORMAT: Final = "shmlog topic"
VERSION: Final = 1
MANIFEST, END = "manifest.json", "end.json"
MEMBER_BYTES: Final = 4 << 20
"""About so many bytes of batches are one member."""
MEMBER_BYTES_MAX: Final = 1 << 30
"""A member that claims more is damage, not a reason to reserve memory."""
_SUFFIX: Final = ".batches"


@dataclass(frozen=True, slots=True)
class ArchivedPartition:
    """What an archive has of one partition: offsets from `start_offset` up to, not including, `end_offset`.

    `leader_epochs` are pairs of an epoch and its first offset, ascending.
    """

    partition: int
    start_offset: int
    end_offset: int
    leader_epochs: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands at the front. `config` holds the topic's overrides; `created_ms` is wall time."""

    topic: str
    config: dict[str, str]
    partitions: list[ArchivedPartition]
    created_ms: int
    shmlog_version: str


@dataclass(slots=True)
class _Total:
    """Of one partition, so far."""

    size_bytes: int = 0
    checksum: int = 0

    def add(self, batches: bytes) -> None:
        self.size_bytes += len(batches)
        self.checksum = crc32c(batches, self.checksum)


class ArchiveWriter:
    """Writes `path` under another name until finish(). Use as a context manager: without finish() nothing is left."""

    def __init__(self, path: str, manifest: Manifest) -> None:
        self._path, self._partial = path, path + ".part"
        self._totals = {one.partition: _Total() for one in manifest.partitions}
        self._created_s = manifest.created_ms // 1000
        mode: Literal["w", "w:gz"] = "w:gz" if path.endswith((".gz", ".tgz")) else "w"
        self._tar = tarfile.open(self._partial, mode)  # noqa: SIM115  # closed by finish() or __exit__()
        self._add(MANIFEST, orjson.dumps({"format": FORMAT, "version": VERSION, **asdict(manifest)}))

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        with suppress(FileNotFoundError):
            os.unlink(self._partial)

    def add(self, partition: int, base_offset: int, batches: bytes) -> None:
        """The next batches of a partition, whole ones, which begin with `base_offset`."""
        self._add(f"{partition}/{base_offset:020d}{_SUFFIX}", batches)
        self._totals[partition].add(batches)

    def finish(self) -> int:
        """Put the archive in its place, durably; returns its size in bytes."""
        self._add(END, orjson.dumps({str(partition): asdict(total) for partition, total in self._totals.items()}))
        self._tar.close()
        fd = os.open(self._partial, os.O_RDONLY)
        try:
            os.fsync(fd)
            size_bytes = os.fstat(fd).st_size
        finally:
            os.close(fd)
        os.rename(self._partial, self._path)
        return size_bytes

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(content), self._created_s, 0o600
        self._tar.addfile(member, io.BytesIO(content))


class ArchiveReader:
    """Reads `path` from its beginning to its end; the manifest is there at once.

    Raises InvalidRequestError, naming the file, if it is no such archive, ForeignVersionError for another version.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size_bytes = os.path.getsize(path)
        self._file = open(path, "rb")  # noqa: SIM115  # closed by close()
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r|*")  # noqa: SIM115  # as above
            self.manifest = self._read_manifest()
        except tarfile.TarError as error:
            self._file.close()
            raise InvalidRequestError(f"{path} is no archive of a topic: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._tar.close()
        self._file.close()

    @property
    def position(self) -> int:
        """How many bytes of the file were read."""
        return self._file.tell()

    def batches(self) -> Iterator[tuple[int, bytes]]:
        """Partition numbers and whole batches of them, in order; at the end everything was there.

        Raises CorruptRecordError, naming the file, if something is missing or is not as it was written.
        """
        totals = {one.partition: _Total() for one in self.manifest.partitions}
        try:
            while (member := self._tar.next()) is not None:
                if member.name == END:
                    if self._json(member) != {str(partition): asdict(total) for partition, total in totals.items()}:
                        raise CorruptRecordError(f"{self.path} does not hold what was put into it")
                    return
                number = member.name.partition("/")[0]
                if not member.name.endswith(_SUFFIX) or not number.isdecimal() or int(number) not in totals:
                    raise CorruptRecordError(f"{self.path} has a member {member.name!r}, which belongs to no topic")
                batches = self._content(member)
                totals[int(number)].add(batches)
                yield int(number), batches
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CorruptRecordError(f"{self.path} cannot be read after byte {self.position}: {error}") from error
        raise CorruptRecordError(f"{self.path} ends too early: what is missing was never written, or was cut off")

    def _read_manifest(self) -> Manifest:
        member = self._tar.next()
        if member is None or member.name != MANIFEST:
            raise InvalidRequestError(f"{self.path} is no archive of a topic: it does not begin with {MANIFEST}")
        found = self._json(member)
        if found.pop("format", None) != FORMAT:
            raise InvalidRequestError(f"{self.path} is no archive of a topic: its {MANIFEST} is something else's")
        version = found.pop("version", None)
        if version != VERSION:
            raise ForeignVersionError(f"{self.path} has version {version}, this shmlog reads version {VERSION}")
        try:
            partitions = [ArchivedPartition(**one) for one in found.pop("partitions")]
            return Manifest(partitions=partitions, **found)
        except (TypeError, KeyError) as error:
            raise CorruptRecordError(f"{self.path}: its {MANIFEST} is damaged: {error}") from error

    def _json(self, member: tarfile.TarInfo) -> dict[str, Any]:
        try:
            found = orjson.loads(self._content(member))
        except orjson.JSONDecodeError as error:
            raise CorruptRecordError(f"{self.path}: its {member.name} is damaged: {error}") from error
        if not isinstance(found, dict):
            raise CorruptRecordError(f"{self.path}: its {member.name} is damaged")
        return found

    def _content(self, member: tarfile.TarInfo) -> bytes:
        if member.size > MEMBER_BYTES_MAX:
            raise CorruptRecordError(f"{self.path}: its member {member.name} claims {member.size} bytes")
        file = self._tar.extractfile(member)
        if file is None:
            raise CorruptRecordError(f"{self.path}: its member {member.name} is no file")
        with closing(file):
            content = file.read()
        if len(content) != member.size:
            raise CorruptRecordError(f"{self.path} ends in the middle of {member.name}")
        return content
