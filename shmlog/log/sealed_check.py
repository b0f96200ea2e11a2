"""Looking at a segment that is not written to any more: whether its indexes belong to it, and the next file follows it.

Its log is left alone whatever it holds: it was synced. What lies inside it is for its readers to check.
"""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.clock import wall_ms
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.damage import Damage, write_down
from shmlog.log.index_repair import NO_CHECKSUMS, OpenSegment, rebuild, resume_sealed
from shmlog.log.segment import LOG_SUFFIX, SegmentFiles, segment_path
from shmlog.log.storage import Storage


@dataclass(frozen=True, slots=True)
class SealedCheck:
    """How the sealed segments of one log are looked at."""

    storage: Storage
    directory: str
    index_interval_bytes: int

    def check(self, base_offset: int, following: int, *, has_indexes: bool) -> list[str]:
        """Make sure that the segment has indexes that belong to it; `following` is where the next file begins.

        Returns in sentences what was done, and what is wrong, damage or a gap, of which there is a note then (see
        log/damage.py). Without `has_indexes` they are made anew. Raises OSError.
        """
        made: list[str] = []
        segment: OpenSegment | None = None
        if has_indexes:
            files = SegmentFiles.open(self.storage, self.directory, base_offset, create=False)
            try:
                segment = resume_sealed(self.storage, files, self.index_interval_bytes)
            finally:
                files.close()
        if segment is None:
            made = [rebuilt_note(self.directory, base_offset, were_there=has_indexes)]
            segment = self._rebuild(base_offset)
        if segment.walk.problem:
            reason = f"the batch at byte {segment.walk.valid_bytes} is not sound: {segment.walk.problem}"
            first_offset = segment.walk.next_offset
            self._note_damage(base_offset, (first_offset, following), reason)
            path = segment_path(self.directory, base_offset, LOG_SUFFIX)
            said = f"{path}, from offset {first_offset} on: {reason}; left as it is, it was synced"
            return [said] if has_indexes else [*made, said]
        return [*made, *self._gap(segment, following)]

    def _rebuild(self, base_offset: int) -> OpenSegment:
        segment = rebuild(self.storage, self.directory, base_offset, self.index_interval_bytes, NO_CHECKSUMS)
        try:
            segment.writer.append_final_time_index()
            segment.files.sync()
        finally:
            segment.files.close()
        return segment

    def _gap(self, segment: OpenSegment, following: int) -> list[str]:
        base_offset, end = segment.files.base_offset, segment.writer.next_offset
        if end == following or end < following <= dense_from(self.storage, self.directory):
            return []
        reason = f"it ends at offset {end}, and the next file begins at {following}: a file is missing, or foreign"
        self._note_damage(base_offset, (min(end, following), max(end, following)), reason)
        return [f"{segment_path(self.directory, base_offset, LOG_SUFFIX)}: {reason}"]

    def _note_damage(self, base_offset: int, offsets: tuple[int, int], reason: str) -> None:
        """Of a segment that is left as it is: what is sound in it and in later ones is still read."""
        name = f"{base_offset:020d}{LOG_SUFFIX}"
        damage = Damage(*offsets, 0, (name,), f"in {name}: {reason}", wall_ms())
        write_down(self.storage, self.directory, damage)


def rebuilt_note(directory: str, base_offset: int, *, were_there: bool) -> str:
    """What is said of a segment whose indexes were made anew."""
    path = segment_path(directory, base_offset, LOG_SUFFIX)
    return (
        f"rebuilt the indexes of {path}, which did not fit it"
        if were_there
        else f"rebuilt the missing indexes of {path}"
    )
