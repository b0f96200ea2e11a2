"""Which segments are compacted, and when: Kafka's rules, held against a second reading of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from shmlog.limits import INDEX_BYTES_MAX, RELATIVE_MAX
from shmlog.machines.compaction import CompactionDecision, decide_compaction, group_segments
from shmlog.settings import TopicConfig

NOW_MS = 1_800_000_000_000
MIB = 1 << 20


@dataclass(frozen=True)
class Facts:
    base_offset: int
    size_bytes: int = 100
    max_timestamp_ms: int = NOW_MS - 1000
    first_timestamp_ms: int = NOW_MS - 1000
    index_bytes: int = 8
    time_index_bytes: int = 12


def config(**settings: object) -> TopicConfig:
    return TopicConfig.from_mapping({"cleanup_policy": "compact", **settings})


def decide(
    segments: list[Facts],
    settings: TopicConfig | None = None,
    *,
    first_dirty: int = 0,
    uncleanable: int = 10**9,
    horizon_ms: int = 0,
) -> CompactionDecision | None:
    return decide_compaction(
        segments,
        settings or config(),
        now_ms=NOW_MS,
        first_dirty_offset=first_dirty,
        uncleanable_offset=uncleanable,
        delete_horizon_ms=horizon_ms,
    )


FOUR = [Facts(0), Facts(10), Facts(20), Facts(30)]


def test_a_log_that_was_never_cleaned_is_cleaned_up_to_its_active_segment() -> None:
    decision = decide(FOUR)
    assert decision is not None
    assert (decision.first_dirty_offset, decision.end_offset, decision.groups) == (0, 30, ((0, 10, 20),))
    assert (decision.dirty_ratio, decision.reason) == (1.0, "ratio")


def test_a_log_that_is_not_compacted_is_left_alone() -> None:
    assert decide(FOUR, config(cleanup_policy="delete")) is None
    assert decide(FOUR, config(cleanup_policy="compact,delete")) is not None


def test_a_log_with_only_an_active_segment_or_without_bytes_is_left_alone() -> None:
    assert decide([Facts(0)]) is None
    assert decide([Facts(0, size_bytes=0), Facts(0, size_bytes=0)]) is None


@pytest.mark.parametrize(("first_dirty", "is_due"), [(10, True), (20, False), (15, False)])
def test_a_log_is_due_when_more_than_the_ratio_of_its_bytes_is_dirty(first_dirty: int, is_due: bool) -> None:
    """20 of 30 parts; 10 of 30; and 20 of 40, because a segment that is half clean counts on both sides."""
    decision = decide(FOUR, first_dirty=first_dirty)
    assert (decision is not None) == is_due


def test_a_ratio_of_nothing_does_not_clean_what_is_clean() -> None:
    assert decide(FOUR, config(min_cleanable_dirty_ratio=0), first_dirty=30) is None
    assert decide(FOUR, config(min_cleanable_dirty_ratio=0), first_dirty=20) is not None


def test_nothing_above_the_limit_is_cleaned_nor_the_segment_that_it_is_in() -> None:
    decision = decide(FOUR, uncleanable=25)
    assert decision is not None
    assert decision.end_offset == 20
    assert decide(FOUR, uncleanable=5) is None


def test_a_segment_with_a_young_record_waits_and_so_does_everything_behind_it() -> None:
    young = [Facts(0), Facts(10, max_timestamp_ms=NOW_MS - 5), Facts(20), Facts(30)]
    decision = decide(young, config(min_compaction_lag_ms=100))
    assert decision is not None
    assert decision.end_offset == 10
    assert decide(young, config(min_compaction_lag_ms=100), first_dirty=10) is None
    behind = decide(young, config(min_compaction_lag_ms=100, min_cleanable_dirty_ratio=0), first_dirty=20)
    assert behind is not None, "what is clean was old enough"
    of_all = decide(young, config(min_compaction_lag_ms=5))
    assert of_all is not None
    assert of_all.end_offset == 30, "just as old as asked for is old enough"


def test_what_is_overdue_is_cleaned_whatever_the_ratio() -> None:
    never = config(min_cleanable_dirty_ratio=1, max_compaction_lag_ms=500)
    decision = decide(FOUR, never, first_dirty=20)
    assert decision is not None
    assert decision.reason == "lag"
    assert decide(FOUR, config(min_cleanable_dirty_ratio=1, max_compaction_lag_ms=1000), first_dirty=20) is None
    timeless = [Facts(0), Facts(10), Facts(20, first_timestamp_ms=-1), Facts(30)]
    assert decide(timeless, never, first_dirty=20) is None, "nobody knows how old it is"
    assert decide(FOUR, never, first_dirty=30) is None, "nothing dirty is sealed"
    assert decide(FOUR, never, first_dirty=20, uncleanable=25) is None, "nothing dirty may be cleaned"


def test_a_clean_log_is_cleaned_again_when_all_its_tombstones_may_go() -> None:
    assert decide(FOUR, first_dirty=30, horizon_ms=NOW_MS + 1) is None
    decision = decide(FOUR, first_dirty=30, horizon_ms=NOW_MS)
    assert decision is not None
    assert (decision.reason, decision.first_dirty_offset, decision.end_offset) == ("tombstones", 30, 30)


@pytest.mark.parametrize("first_dirty", [5, 31])
def test_a_checkpoint_that_is_not_of_this_log_counts_as_none(first_dirty: int) -> None:
    decision = decide([Facts(10), Facts(20), Facts(30)], first_dirty=first_dirty)
    assert decision is not None
    assert decision.first_dirty_offset == 10


def test_a_decision_brings_along_what_cleaning_needs_of_the_settings() -> None:
    decision = decide(FOUR, config(delete_retention_ms=7, index_interval_bytes=9))
    assert decision is not None
    assert (decision.delete_retention_ms, decision.index_interval_bytes) == (7, 9)


@pytest.mark.parametrize(
    ("segments", "end", "groups"),
    [
        pytest.param([Facts(0, MIB), Facts(1, 1), Facts(2, 1)], 3, ((0,), (1, 2)), id="bytes"),
        pytest.param([Facts(0, MIB // 2), Facts(1, MIB // 2), Facts(2, 1)], 3, ((0, 1), (2,)), id="just full"),
        pytest.param([Facts(0, index_bytes=INDEX_BYTES_MAX), Facts(1), Facts(2)], 3, ((0,), (1, 2)), id="index"),
        pytest.param([Facts(0), Facts(1, time_index_bytes=INDEX_BYTES_MAX)], 2, ((0,), (1,)), id="time index"),
        pytest.param([Facts(0), Facts(9), Facts(99)], RELATIVE_MAX + 1, ((0, 9, 99),), id="offsets just in range"),
        pytest.param([Facts(0), Facts(9), Facts(99)], RELATIVE_MAX + 2, ((0, 9), (99,)), id="offsets out of range"),
        pytest.param(
            [Facts(0), Facts(9), Facts(2**32)], 2**32 + 1, ((0,), (9,), (2**32,)), id="by where the next begins"
        ),
        pytest.param([Facts(0), Facts(2**32, 0)], 2**33, ((0, 2**32),), id="an empty one has no offsets"),
    ],
)
def test_segments_become_one_as_long_as_they_fit(
    segments: list[Facts], end: int, groups: tuple[tuple[int, ...], ...]
) -> None:
    assert group_segments(segments, MIB, end) == groups


@st.composite
def logs(draw: st.DrawFn) -> list[Facts]:
    base, segments = draw(st.integers(0, 20)), []
    for _ in range(draw(st.integers(2, 8))):
        times = sorted(NOW_MS - draw(st.integers(0, 50)) for _ in range(2))
        first = draw(st.sampled_from([times[0], -1]))
        segments.append(Facts(base, draw(st.integers(0, 5)) * MIB, times[1], first))
        base += draw(st.integers(1, 10))
    return segments


@given(
    logs(),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(1, 50),
    st.integers(0, 50),
    st.sampled_from([0, 0.3, 0.5, 1]),
)
def test_decisions_are_those_of_a_second_reading_of_the_rules(
    log: list[Facts], first_dirty: int, uncleanable: int, max_lag_ms: int, min_lag_ms: int, ratio: float
) -> None:
    """Offset by offset: every byte of a segment is as clean, as dirty or as untouchable as its segment is."""
    settings = config(
        min_compaction_lag_ms=min_lag_ms,
        max_compaction_lag_ms=max_lag_ms,
        min_cleanable_dirty_ratio=ratio,
        segment_bytes=6 * MIB,
    )
    decision = decide(log, settings, first_dirty=first_dirty, uncleanable=uncleanable)
    sealed, active = log[:-1], log[-1]
    ends = [one.base_offset for one in log[1:]]
    if not log[0].base_offset <= first_dirty <= active.base_offset:
        first_dirty = log[0].base_offset
    cleanable, dirty, overdue = [], [], False
    for segment, end in zip(sealed, ends, strict=True):
        is_dirty = end > first_dirty
        overdue |= is_dirty and 0 < segment.first_timestamp_ms < NOW_MS - max_lag_ms
        if is_dirty and (end > uncleanable or (min_lag_ms and segment.max_timestamp_ms > NOW_MS - min_lag_ms)):
            break
        cleanable.append(segment)
        dirty += [segment] * is_dirty
    for segment, end in list(zip(sealed, ends, strict=True))[len(cleanable) + 1 :]:
        overdue |= end > first_dirty and 0 < segment.first_timestamp_ms < NOW_MS - max_lag_ms
    dirty_bytes = sum(one.size_bytes for one in dirty)
    clean_bytes = sum(one.size_bytes for one in log if one.base_offset < first_dirty)
    is_due = dirty_bytes > 0 and (overdue or dirty_bytes / (clean_bytes + dirty_bytes) > ratio)
    assert (decision is not None) == is_due
    if decision is not None:
        assert [base for group in decision.groups for base in group] == [one.base_offset for one in cleanable]
        assert decision.end_offset == ends[len(cleanable) - 1]
        sizes = {one.base_offset: one.size_bytes for one in log}
        totals = [sum(sizes[base] for base in group) for group in decision.groups]
        assert all(total <= 6 * MIB for total in totals)
        for total, following in zip(totals, decision.groups[1:], strict=False):
            assert total + sizes[following[0]] > 6 * MIB, "one more would not have fitted"
