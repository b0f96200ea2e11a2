"""A mapping shows the region and nothing else, and one that must not be used any more raises instead of crashing."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from shmlog.errors import ForkedHandleError, HandleClosedError
from shmlog.limits import PAGE_BYTES
from shmlog.native.mapping import Mapping

REGION_BYTES = 3 * PAGE_BYTES


@pytest.fixture
def region() -> Iterator[int]:
    """A descriptor of three pages of shared memory without a name, so that nothing can be left behind."""
    fd = os.memfd_create("shmlog-test")
    try:
        os.posix_fallocate(fd, 0, REGION_BYTES)
        yield fd
    finally:
        os.close(fd)


def say_in_a_forked_child(what: Callable[[], str], fork: Callable[[], int] = os.fork) -> str:
    """Fork, call `what` in the child, and return what it said there, or how the child died."""
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            faulthandler.disable()
            os.write(writing, what().encode())
        except BaseException as error:  # noqa: BLE001  (a forked child must not return into pytest)
            os.write(writing, f"unexpected {error!r}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        said = os.read(reading, 1 << 16).decode()
    finally:
        os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said if code == 0 else f"killed by {signal.Signals(-code).name}"


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except (ForkedHandleError, HandleClosedError) as error:
        return type(error).__name__
    return "worked"


def every_use(mapping: Mapping) -> dict[str, Callable[[], object]]:
    return {
        "load": lambda: mapping.load(0),
        "store": lambda: mapping.store(0, 1),
        "read": lambda: mapping.read(0, 8),
        "write": lambda: mapping.write(0, b"12345678"),
        "buffer": lambda: memoryview(mapping),
        "address": lambda: mapping.address,
    }


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_two_mappings_of_one_region_see_each_others_stores(region: int) -> None:
    ours, theirs = Mapping(region, REGION_BYTES, writable=True), Mapping(region, REGION_BYTES)
    ours.store(64, 2**64 - 1)
    ours.write(72, b"news")
    assert theirs.load(64) == 2**64 - 1
    assert theirs.read(72, 4) == b"news"


def test_a_mapping_lives_on_when_the_descriptor_is_closed() -> None:
    fd = os.memfd_create("shmlog-test")
    os.posix_fallocate(fd, 0, PAGE_BYTES)
    mapping = Mapping(fd, PAGE_BYTES, writable=True)
    os.close(fd)
    mapping.store(0, 7)
    assert mapping.load(0) == 7


def test_the_doubled_part_follows_itself_so_that_nothing_in_it_wraps(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True, doubled_from=PAGE_BYTES)
    mapping.write(REGION_BYTES - 3, b"across")
    assert mapping.read(PAGE_BYTES, 3) == b"oss"
    assert mapping.read(REGION_BYTES, 3) == b"oss"
    assert len(memoryview(mapping)) == REGION_BYTES + 2 * PAGE_BYTES


def test_the_part_before_the_doubled_one_is_there_once(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True, doubled_from=PAGE_BYTES)
    mapping.write(0, b"header")
    assert b"header" not in mapping.read(PAGE_BYTES, REGION_BYTES + PAGE_BYTES)


def test_a_region_that_is_doubled_as_a_whole_repeats_from_its_first_byte(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True, doubled_from=0)
    mapping.store(0, 42)
    assert mapping.load(REGION_BYTES) == 42


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_a_read_only_mapping_refuses_every_write(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES)
    with pytest.raises(ValueError, match="read-only"):
        mapping.store(0, 1)
    with pytest.raises(ValueError, match="read-only"):
        mapping.write(0, b"x")
    assert memoryview(mapping).readonly


def test_the_kernel_refuses_what_goes_around_a_read_only_mapping(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES)

    def scribble() -> str:
        other = Mapping(region, REGION_BYTES)  # made in the child: only the protection of its pages stands in the way
        ctypes.memset(other.address, 1, 1)
        return "written"

    assert say_in_a_forked_child(scribble) == "killed by SIGSEGV"
    assert mapping.read(0, 1) == b"\0"


@pytest.mark.parametrize(
    ("offset", "length"),
    [(REGION_BYTES, 1), (REGION_BYTES - 1, 2), (0, REGION_BYTES + 1), (2**64 - 4, 8), (8, 2**64 - 4)],
)
def test_bytes_outside_the_region_are_refused(region: int, offset: int, length: int) -> None:
    with pytest.raises(IndexError, match=f"region of {REGION_BYTES} bytes"):
        Mapping(region, REGION_BYTES).read(offset, length)


def test_cells_outside_the_region_are_refused(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True)
    with pytest.raises(IndexError):
        mapping.load(REGION_BYTES)
    with pytest.raises(IndexError):
        mapping.store(REGION_BYTES, 1)
    with pytest.raises(IndexError):
        mapping.write(REGION_BYTES - 1, b"12")


def test_a_cell_that_is_not_aligned_is_refused_because_its_store_could_be_torn(region: int) -> None:
    with pytest.raises(ValueError, match="aligned"):
        Mapping(region, REGION_BYTES, writable=True).store(4, 1)


@pytest.mark.parametrize("size_bytes", [0, 1, PAGE_BYTES - 1, PAGE_BYTES + 8])
def test_a_region_is_whole_pages(region: int, size_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"not {size_bytes}"):
        Mapping(region, size_bytes)


@pytest.mark.parametrize("doubled_from", [1, PAGE_BYTES + 8, REGION_BYTES, 2 * REGION_BYTES])
def test_the_doubled_part_begins_at_a_page_inside_the_region(region: int, doubled_from: int) -> None:
    with pytest.raises(ValueError, match="doubled_from"):
        Mapping(region, REGION_BYTES, doubled_from=doubled_from)


def test_a_descriptor_that_cannot_be_mapped_is_an_os_error() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="cannot map"):
            Mapping(reading, PAGE_BYTES)
    finally:
        os.close(reading)
        os.close(writing)


# --- after close, after fork ------------------------------------------------------------------------------------------


def test_every_use_after_close_raises(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True)
    mapping.close()
    mapping.close()
    assert mapping.closed
    assert {name: outcome(use) for name, use in every_use(mapping).items()} == dict.fromkeys(
        every_use(mapping), "HandleClosedError"
    )


def test_a_region_whose_buffer_is_in_use_stays_mapped(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES)
    with memoryview(mapping) as view:
        with pytest.raises(BufferError, match="1 buffers"):
            mapping.close()
        assert view[0] == 0
    mapping.close()


@pytest.mark.parametrize("writable", [True, False], ids=["writable", "read-only"])
@pytest.mark.parametrize(
    "fork",
    [pytest.param(os.fork, id="os.fork"), pytest.param(ctypes.PyDLL(None).fork, id="fork in C")],
)
def test_every_use_in_a_forked_child_raises(region: int, writable: bool, fork: Callable[[], int]) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=writable)
    uses = every_use(mapping)
    if not writable:
        del uses["store"], uses["write"]  # refused before anything else is looked at

    said = say_in_a_forked_child(lambda: " ".join(outcome(use) for use in uses.values()), fork)

    assert said.split() == ["ForkedHandleError"] * len(uses)
    assert {outcome(use) for use in uses.values()} == {"worked"}


def test_a_forked_child_does_not_inherit_the_pages_of_a_writable_mapping(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True, doubled_from=0)
    address = f"{mapping.address:x}-"

    def is_mapped() -> str:
        with open("/proc/self/maps") as maps:
            return "mapped" if any(line.startswith(address) for line in maps) else "not mapped"

    assert is_mapped() == "mapped"
    assert say_in_a_forked_child(is_mapped) == "not mapped"


def test_a_child_that_closes_its_parents_mapping_harms_neither(region: int) -> None:
    mapping = Mapping(region, REGION_BYTES, writable=True)

    def close_and_look() -> str:
        own = Mapping(region, REGION_BYTES, writable=True)  # may well lie where the parent's was
        mapping.close()
        own.store(8, 5)
        return f"read {own.load(8)}"

    assert say_in_a_forked_child(close_and_look) == "read 5"
    assert mapping.load(8) == 5


def test_a_mapping_made_in_the_child_works_there(region: int) -> None:
    assert say_in_a_forked_child(lambda: outcome(lambda: Mapping(region, REGION_BYTES).load(0))) == "worked"
