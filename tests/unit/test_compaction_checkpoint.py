"""Where a log may have holes is known or refused, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.log.compaction_checkpoint import (
    COMPACTION_CHECKPOINT,
    NEVER_CLEANED,
    CompactionCheckpoint,
    read_compaction_checkpoint,
    write_compaction_checkpoint,
)
from shmlog.log.storage import OsStorage


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    checkpoint = CompactionCheckpoint(10**17, 10**17 + 5, 1_800_000_000_000)
    write_compaction_checkpoint(OsStorage(), str(tmp_path), checkpoint)
    assert read_compaction_checkpoint(OsStorage(), str(tmp_path)) == checkpoint
    assert (tmp_path / COMPACTION_CHECKPOINT).read_text() == f"0\n{10**17} {10**17 + 5} 1800000000000\n"


def test_a_log_without_a_checkpoint_was_never_cleaned_and_has_no_holes(tmp_path: Path) -> None:
    assert read_compaction_checkpoint(OsStorage(), str(tmp_path)) == NEVER_CLEANED == CompactionCheckpoint(0, 0, 0)


@pytest.mark.parametrize(
    "text", ["", "0\n", "0\n1 2\n", "0\n1 2 3 4\n", "0\n1 -2 3\n", "0\n1 two 3\n", f"0\n{10**18} 2 3\n"]
)
def test_a_damaged_checkpoint_is_refused_and_its_file_named(tmp_path: Path, text: str) -> None:
    (tmp_path / COMPACTION_CHECKPOINT).write_text(text)
    with pytest.raises(CorruptRecordError, match=str(tmp_path / COMPACTION_CHECKPOINT)):
        read_compaction_checkpoint(OsStorage(), str(tmp_path))


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / COMPACTION_CHECKPOINT).write_text("1\n5\n")
    with pytest.raises(ForeignVersionError, match="version 1"):
        read_compaction_checkpoint(OsStorage(), str(tmp_path))
