"""Records of the metadata log as bytes: {"type": class name, "version": 0, ...fields} in JSON."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import orjson

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.machines.metadata_records import MetadataRecord
from shmlog.version import VERSION

RECORD_VERSION = 0

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in typing.get_args(MetadataRecord)}


def encode_record(record: MetadataRecord) -> bytes:
    body: dict[str, Any] = {"type": type(record).__name__, "version": RECORD_VERSION}
    for field in dataclasses.fields(record):
        body[field.name] = getattr(record, field.name)
    return orjson.dumps(body)


def decode_record(value: bytes | None, offset: int) -> MetadataRecord:
    """The record at `offset` of the metadata log.

    Raises ForeignVersionError for what a newer shmlog wrote, CorruptRecordError for what nobody wrote.
    """
    try:
        body = orjson.loads(value or b"")
        name, version = body.pop("type"), body.pop("version")
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise CorruptRecordError(f"the metadata log has something at offset {offset} that is no record") from None
    kind = _TYPES.get(name)
    if kind is None or version != RECORD_VERSION or body.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ForeignVersionError(
            f"the metadata log has a record {name!r} of version {version!r} at offset {offset}, which shmlog {VERSION}"
            " does not know: start the cluster with the version that wrote it"
        )
    return typing.cast(MetadataRecord, kind(**body))
