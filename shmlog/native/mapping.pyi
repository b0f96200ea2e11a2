"""Shared-memory regions mapped into this process."""

def outlive_cut_regions() -> None:
    """From now on, a mapped region that somebody cuts reads as zeros here, instead of ending this process with SIGBUS.

    For owners and supervisors: it installs a handler for SIGBUS, inherited by fork(). Other accesses that fail with
    that signal end the process as before.
    """

class Mapping:
    """A shared-memory region mapped into this process; the part from `doubled_from` on twice, back to back.

    The bytes behind the first mapping are the region's; bytes from `size_bytes` on repeat the doubled part, so that
    nothing in it ever wraps. Writable mappings are not inherited by fork(): every method then raises
    ForkedHandleError; after close() HandleClosedError. The caller may close `fd` right after construction.
    Offsets are in bytes. Supports the buffer protocol (read-only unless `writable`).
    """

    size_bytes: int
    writable: bool

    def __init__(self, fd: int, size_bytes: int, *, writable: bool = False, doubled_from: int = -1) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def load(self, offset: int) -> int:
        """The u64 cell at `offset`, with acquire semantics."""

    def store(self, offset: int, value: int) -> None:
        """Store the u64 cell at `offset`, with release semantics."""

    def read(self, offset: int, length: int) -> bytes:
        """A copy of `length` bytes."""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` into the region."""

    @property
    def address(self) -> int:
        """Where the region starts in this process."""

    @property
    def closed(self) -> bool: ...
    def close(self) -> None:
        """Unmap. Objects that were made over this mapping keep it mapped: close them first."""
