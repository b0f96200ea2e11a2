"""Samples of where the time of records goes: rings in ctl and client regions, one writer each, any readers."""

from shmlog.native.mapping import Mapping

class SampleReader:
    """Takes what is put into the ring at `at` of a region from now on. Holds nobody up; keeps the mapping alive."""

    number: int
    """Of the next sample."""
    lost: int
    """How many were overwritten before they were taken."""

    def __init__(self, mapping: Mapping, at: int) -> None: ...
    def take(self) -> list[tuple[int, int, int, int, int, int, int]]:
        """The samples since the last call, oldest first."""

class SampleWriter:
    """The one writer of the ring at `at` of a region. Raises HandleClosedError once the region is unmapped."""

    def __init__(self, mapping: Mapping, at: int) -> None: ...
    def put(self, a: int, b: int, c: int, d: int) -> None:
        """Add a sample of these words; the other three are zero."""
