"""The core and Python agree about every byte of shared memory, and no two things lie in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import pytest

from shmlog import limits
from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.memory import layout
from shmlog.native.mapping import Mapping

HEADER_FILE = Path(__file__).parents[2] / "shmlog" / "native" / "layout.h"
DEFINE = re.compile(r"^#define\s+(\w+)[ \t]+(.+?)\s*(?:/\*.*)?$", re.MULTILINE)

# Numbers that one side only has a use for. The hand-off word is taken apart in the core alone.
CORE_ONLY = re.compile(r"SHM_LINE|OPEN_.*|FRAME_KIND_.*")
PYTHON_ONLY = {"LAYOUT_MAJOR", "LAYOUT_MINOR", "KNOWN_FEATURES", "NO_REPLICA", "SLOT_MEMBER", "HEADER_BYTES"}
PYTHON_ONLY |= {"CTL_ERROR_TEXT_BYTES"}
NO_CELL = re.compile(r"_BYTES$|^FRAME_STATUS_")  # sizes of records, and values of a cell
ENUMS: dict[str, type[IntEnum]] = {"LANE_STATE_": layout.LaneState}


def numbers_of_the_core() -> dict[str, int]:
    """Every plain number that layout.h defines; expressions belong to the hand-off word."""
    found: dict[str, int] = {}
    for name, text in DEFINE.findall(HEADER_FILE.read_text()):
        if re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", text):
            found[name] = int(text, 0)
        else:
            assert CORE_ONLY.fullmatch(name), f"{name} is neither a number nor part of the hand-off word: {text!r}"
    return found


def numbers_of_python() -> dict[str, int]:
    found = {name: value for name, value in vars(layout).items() if name.isupper() and isinstance(value, int)}
    found.update({f"COUNTER_{name.upper()}": place for place, name in enumerate(layout.COUNTERS)})
    for prefix, enum in ENUMS.items():
        found.update({prefix + member.name: member.value for member in enum})
    return found


def test_layout_h_is_read_at_all() -> None:
    assert len(numbers_of_the_core()) > 80


def test_every_number_of_the_core_is_pythons_number() -> None:
    python = numbers_of_python()
    core = {name: number for name, number in numbers_of_the_core().items() if not CORE_ONLY.fullmatch(name)}
    assert core == {name: python.get(name) for name in core}


def test_every_number_of_python_is_known_to_the_core() -> None:
    assert sorted(set(numbers_of_python()) - set(numbers_of_the_core()) - PYTHON_ONLY) == []


@pytest.mark.parametrize(
    "cells",
    [
        """
        CTL_RING_GENERATION CTL_STATE CTL_INTENT_POS CTL_TAIL_OFFSET CTL_WRITTEN_OFFSET CTL_SYNCED_OFFSET CTL_HW_OFFSET
        CTL_LOG_START_OFFSET CTL_LSO_OFFSET CTL_SEGMENT_TURN CTL_LEASE CTL_IN_SYNC CTL_SHARE_GROUPS CTL_COUNTERS
        """,
        "LANE_OPEN LANE_HEAD LANE_STATE LANE_FREE LANE_DATA",
        "BELL_DOORBELL BELL_SLEEPING",
        "BELL_DOORBELL BELL_SLEEPING REPLICA_STATE REPLICA_WRITTEN_OFFSET REPLICA_SYNCED_OFFSET",
    ],
    ids=["ctl", "lane", "bell", "replica"],
)
def test_each_group_of_cells_begins_a_line_of_its_own(cells: str) -> None:
    numbers = numbers_of_the_core()
    line_bytes = numbers["SHM_LINE"]
    lines = [numbers[cell] // line_bytes for cell in cells.split()]
    assert all(numbers[cell] % line_bytes == 0 for cell in cells.split())
    assert len(set(lines)) == len(lines)
    assert min(lines) * line_bytes >= layout.HEADER_BYTES


def cells_with_sizes(prefix: str, halves: str) -> list[tuple[int, int]]:
    """(offset, bytes) of the cells of one 64-byte record; `halves` names those that are smaller than 8 bytes."""
    sizes = {name: int(size) for name, size in (entry.split(":") for entry in halves.split())}
    names = [name for name in vars(layout) if name.startswith(prefix) and not NO_CELL.search(name)]
    return sorted({(getattr(layout, name), sizes.get(name.removeprefix(prefix), 8)) for name in names})


@pytest.mark.parametrize(
    ("prefix", "sizes", "record_bytes"),
    [
        ("IDX_", "LENGTH:4 COUNT:4 LANE:4 LANE_GENERATION:4", layout.IDX_ENTRY_BYTES),
        (
            "FRAME_",
            "LENGTH:4 COUNT:4 MAX_TIMESTAMP:16 BASE_SEQUENCE:4 KIND:2 ATTRIBUTES:2 STATUS:4 ERROR:4",
            layout.FRAME_BYTES,
        ),
    ],
)
def test_the_cells_of_a_record_fill_it_without_overlap_and_are_aligned(
    prefix: str, sizes: str, record_bytes: int
) -> None:
    end = 0
    for offset, size in cells_with_sizes(prefix, sizes):
        assert offset == end, f"a gap or an overlap at byte {offset} of {prefix}"
        assert offset % min(size, 8) == 0
        end = offset + size
    assert end == record_bytes


def test_the_parts_of_the_control_page_follow_each_other() -> None:
    assert layout.CTL_COUNTERS + 8 * layout.COUNTER_COUNT <= layout.CTL_ERROR_TEXT
    assert len(layout.COUNTERS) <= layout.COUNTER_COUNT
    assert layout.CTL_ERROR_TEXT + layout.CTL_ERROR_TEXT_BYTES <= layout.CTL_LANES
    assert layout.CTL_LANES + layout.CTL_LANE_SLOTS * layout.CTL_LANE_SLOT_BYTES <= layout.CTL_IMAGES
    samples_bytes = layout.TRACE_ENTRIES * layout.TRACE_ENTRY_BYTES
    assert layout.CTL_IMAGES + 2 * layout.CTL_IMAGE_BYTES == layout.CTL_TRACE
    assert layout.CTL_TRACE + samples_bytes == layout.CTL_SIZE
    assert layout.CLIENT_SLOTS + layout.CLIENT_SLOT_COUNT * layout.CLIENT_SLOT_BYTES == layout.CLIENT_TRACE
    assert layout.CLIENT_TRACE + samples_bytes == layout.CLIENT_SIZE


def test_regions_are_whole_pages() -> None:
    sizes = (layout.CTL_SIZE, layout.BELL_SIZE, layout.CLIENT_SIZE, layout.REPLICA_SIZE, layout.LANE_DATA)
    assert [size % limits.PAGE_BYTES for size in sizes] == [0, 0, 0, 0, 0]


def test_the_tables_are_as_large_as_the_limits_promise() -> None:
    assert layout.CTL_LANE_SLOTS == limits.LANES_PER_PARTITION_MAX
    assert layout.CLIENT_SLOT_COUNT == limits.CLIENT_SLOTS_MAX


def test_the_hand_off_word_holds_the_largest_open_batch() -> None:
    core = numbers_of_the_core()
    bits = core["OPEN_COUNT_BITS"] + core["OPEN_END_BITS"] + core["OPEN_START_BITS"] + 1
    assert bits == 64
    assert limits.FRAME_RECORDS_MAX < 1 << core["OPEN_COUNT_BITS"]
    assert limits.OPEN_BATCH_BYTES_MAX + layout.FRAME_BYTES <= 1 << core["OPEN_END_BITS"]


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[Mapping]:
    fd = os.memfd_create("shmlog-test")
    try:
        os.posix_fallocate(fd, 0, limits.PAGE_BYTES)
        mapping = Mapping(fd, limits.PAGE_BYTES, writable=True)
    finally:
        os.close(fd)
    yield mapping
    mapping.close()


def a_header() -> layout.RegionHeader:
    return layout.RegionHeader(layout.KIND_LANE, bytes(range(16)), 4711, layout.boot_id())


def test_a_stored_header_is_loaded_again(page: Mapping) -> None:
    a_header().store(page)
    assert layout.RegionHeader.load(page, layout.KIND_LANE, "/x") == a_header()


def test_a_region_of_another_kind_is_refused_by_name(page: Mapping) -> None:
    a_header().store(page)
    with pytest.raises(CorruptRecordError, match="/shmlog.x is not a SHMLGCTL region"):
        layout.RegionHeader.load(page, layout.KIND_CTL, "/shmlog.x")


def test_a_region_that_is_not_finished_is_refused(page: Mapping) -> None:
    with pytest.raises(CorruptRecordError, match="/shmlog.x"):
        layout.RegionHeader.load(page, layout.KIND_CTL, "/shmlog.x")


@pytest.mark.parametrize("at", range(48, layout.HEADER_BYTES))
def test_a_damaged_header_is_refused(page: Mapping, at: int) -> None:
    a_header().store(page)
    page.write(at, bytes([page.read(at, 1)[0] ^ 0x10]))
    with pytest.raises(CorruptRecordError, match="/shmlog.x"):
        layout.RegionHeader.load(page, layout.KIND_LANE, "/shmlog.x")


def test_a_region_of_another_major_version_is_refused_naming_both(
    page: Mapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as another_version:
        another_version.setattr(layout, "LAYOUT_MAJOR", 7)
        another_version.setattr(layout, "LAYOUT_MINOR", 3)
        a_header().store(page)
    with pytest.raises(ForeignVersionError, match=rf"layout 7\.3 .* reads {layout.LAYOUT_MAJOR}\.x"):
        layout.RegionHeader.load(page, layout.KIND_LANE, "/shmlog.x")


def test_a_region_with_a_feature_that_this_version_does_not_know_is_refused(page: Mapping) -> None:
    a_header().store(page)
    page.write(24, b"\x02")
    with pytest.raises(ForeignVersionError, match="feature bits 0x2"):
        layout.RegionHeader.load(page, layout.KIND_LANE, "/shmlog.x")


def test_versions_of_one_major_read_each_other_with_what_either_has_added(
    page: Mapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.layout_hash.cache_clear()
    with monkeypatch.context() as next_version:
        next_version.setattr(layout, "LAYOUT_MINOR", layout.LAYOUT_MINOR + 1)
        next_version.setattr(layout, "CTL_NEW_CELL", 0x700, raising=False)
        a_header().store(page)
    layout.layout_hash.cache_clear()
    assert layout.RegionHeader.load(page, layout.KIND_LANE, "/shmlog.x") == a_header()


def test_a_region_of_another_build_with_the_same_version_is_refused(
    page: Mapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.layout_hash.cache_clear()
    with monkeypatch.context() as another_build:
        another_build.setattr(layout, "IDX_SEQ", 8)
        a_header().store(page)
    layout.layout_hash.cache_clear()
    with pytest.raises(ForeignVersionError, match="same build"):
        layout.RegionHeader.load(page, layout.KIND_LANE, "/shmlog.x")
