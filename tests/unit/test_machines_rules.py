"""Retention, idempotence, producer ids and the shared-memory budget: rules against plain models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from shmlog.errors import InvalidProducerIdMappingError, ShmBudgetExceededError
from shmlog.limits import PRODUCERS_REMEMBERED_MAX
from shmlog.machines.budget import BudgetMachine
from shmlog.machines.producer_id import check_producer_id, producer_id_of
from shmlog.machines.producer_state import (
    BATCHES_REMEMBERED,
    SEQUENCE_MAX,
    Append,
    Duplicate,
    Fenced,
    OutOfOrder,
    ProducerBatch,
    ProducerStateMachine,
    sequence_after,
)
from shmlog.machines.retention import decide_retention
from shmlog.settings import TopicConfig


class Segment(NamedTuple):
    base_offset: int
    size_bytes: int
    max_timestamp_ms: int
    created_ms: int = 0


def config(**given_settings: int) -> TopicConfig:
    return TopicConfig.from_mapping(given_settings)


LOG = [Segment(0, 100, 10), Segment(10, 100, 20), Segment(20, 100, 30)]  # ends at offset 30


def deleted(
    segments: list[Segment], settings: TopicConfig, *, now: int = 0, hw: int = 30, limit: int = -1
) -> tuple[int, ...]:
    return decide_retention(
        segments,
        settings,
        size_bytes=sum(segment.size_bytes for segment in segments),
        now_ms=now,
        log_end_offset=30,
        high_watermark=hw,
        size_limit_bytes=limit,
    ).delete


def test_segments_go_when_their_newest_record_is_too_old() -> None:
    assert deleted(LOG, config(retention_ms=100), now=110) == ()
    assert deleted(LOG, config(retention_ms=100), now=111) == (0,)
    assert deleted(LOG, config(retention_ms=100), now=125) == (0, 10)
    assert deleted(LOG, config(retention_ms=-1), now=10**15) == ()


def test_an_old_segment_behind_a_young_one_stays_so_that_the_log_has_no_hole() -> None:
    assert deleted([Segment(0, 100, 1000), *LOG[1:]], config(retention_ms=100), now=500) == ()


def test_segments_go_when_what_remains_is_still_as_large_as_retention_bytes() -> None:
    forever = {"retention_ms": -1}
    assert deleted(LOG, config(retention_bytes=200, **forever)) == (0,)
    assert deleted(LOG, config(retention_bytes=201, **forever)) == ()
    assert deleted(LOG, config(retention_bytes=100, **forever)) == (0, 10)


def test_the_smaller_of_two_size_limits_counts() -> None:
    assert deleted(LOG, config(retention_ms=-1), limit=200) == (0,)
    assert deleted(LOG, config(retention_ms=-1, retention_bytes=100), limit=200) == (0, 10)
    assert deleted(LOG, config(retention_ms=-1, retention_bytes=200), limit=100) == (0, 10)


def test_nothing_goes_where_the_policy_is_not_to_delete() -> None:
    tight = {"retention_ms": 1, "retention_bytes": 0}
    assert deleted(LOG, TopicConfig.from_mapping({**tight, "cleanup_policy": "compact"}), now=1000, limit=0) == ()
    assert deleted(LOG, TopicConfig.from_mapping({**tight, "cleanup_policy": "compact,delete"}), now=1000) == (
        0,
        10,
        20,
    )


def test_nothing_goes_that_is_not_below_the_high_watermark() -> None:
    assert deleted(LOG, config(retention_ms=0), now=10**6, hw=19) == (0,)


def test_an_old_active_segment_goes_after_a_new_one_was_begun_but_an_empty_one_stays() -> None:
    for log, rolls in ((LOG, True), ([*LOG, Segment(30, 0, -1)], False)):
        decision = decide_retention(
            log, config(retention_ms=1), size_bytes=0, now_ms=10**6, log_end_offset=30, high_watermark=30
        )
        assert (decision.delete, decision.roll_first) == ((0, 10, 20), rolls)


def test_no_more_segments_are_asked_than_the_decision_needs() -> None:
    asked = []

    def segments() -> Iterator[Segment]:
        for segment in LOG:
            asked.append(segment.base_offset)
            yield segment

    decide_retention(
        segments(), config(retention_ms=100), size_bytes=0, now_ms=50, log_end_offset=30, high_watermark=30
    )
    assert asked == [0, 10]  # the second one says where the first one ends


def test_a_segment_whose_records_have_no_time_counts_from_its_creation() -> None:
    assert deleted([Segment(0, 1, -1, created_ms=50), *LOG[1:]], config(retention_ms=100), now=149) == ()
    assert deleted([Segment(0, 1, -1, created_ms=50), *LOG[1:]], config(retention_ms=100), now=151)[:1] == (0,)


# --- idempotence ------------------------------------------------------------------------------------------------------


def written(*batches: tuple[ProducerBatch, int]) -> ProducerStateMachine:
    machine = ProducerStateMachine()
    for batch, base_offset in batches:
        assert machine.check(batch) == Append()
        machine.replay(batch, base_offset, timestamp_ms=1000 + base_offset)
    return machine


def test_an_exact_repetition_is_answered_with_the_offset_of_the_original() -> None:
    machine = written((ProducerBatch(7, 0, 0, 3), 50), (ProducerBatch(7, 0, 3, 2), 60))
    assert machine.check(ProducerBatch(7, 0, 0, 3)) == Duplicate(50, 1050)
    assert machine.check(ProducerBatch(7, 0, 3, 2)) == Duplicate(60, 1060)
    assert machine.check(ProducerBatch(7, 0, 3, 1)) == OutOfOrder(5)  # same start, other length: not a repetition


def test_a_gap_and_a_repetition_too_old_to_be_known_are_out_of_order() -> None:
    machine = written(*((ProducerBatch(7, 0, number, 1), number) for number in range(BATCHES_REMEMBERED + 1)))
    assert machine.check(ProducerBatch(7, 0, 1, 1)) == Duplicate(1, 1001)
    assert machine.check(ProducerBatch(7, 0, 0, 1)) == OutOfOrder(6)
    assert machine.check(ProducerBatch(7, 0, 7, 1)) == OutOfOrder(6)


def test_a_new_epoch_starts_at_zero_and_fences_the_old_one() -> None:
    machine = written((ProducerBatch(7, 0, 0, 3), 0))
    assert machine.check(ProducerBatch(7, 1, 3, 1)) == OutOfOrder(0)
    assert machine.check(ProducerBatch(7, 1, 0, 1)) == Append()
    machine.replay(ProducerBatch(7, 1, 0, 1), 3, 0)
    assert machine.check(ProducerBatch(7, 0, 3, 1)) == Fenced(1)
    assert machine.check(ProducerBatch(7, 1, 0, 3)) == OutOfOrder(1)  # the old epoch's batches are forgotten


def test_sequences_wrap_at_the_largest_int32() -> None:
    assert sequence_after(SEQUENCE_MAX, 1) == 0
    across = ProducerBatch(7, 0, SEQUENCE_MAX - 1, 4)  # .. MAX-1, MAX, 0, 1
    assert across.last_sequence == 1
    machine = written((across, 10))
    assert machine.check(across) == Duplicate(10, 1010)
    assert machine.check(ProducerBatch(7, 0, 2, 1)) == Append()


def test_a_producer_that_nobody_knows_may_begin_anywhere() -> None:
    assert ProducerStateMachine().check(ProducerBatch(7, 3, 99, 1)) == Append()


def test_of_too_many_producers_the_one_without_a_lane_that_wrote_longest_ago_is_forgotten() -> None:
    machine = ProducerStateMachine()
    machine.hold(0)
    for producer_id in range(PRODUCERS_REMEMBERED_MAX):
        machine.replay(ProducerBatch(producer_id, 0, 0, 1), producer_id, 0)
    machine.replay(ProducerBatch(1, 0, 1, 1), PRODUCERS_REMEMBERED_MAX, 0)
    for newcomer in (5000, 5001):
        machine.replay(ProducerBatch(newcomer, 0, 0, 1), newcomer, 0)
    known = {entry.producer_id for entry in machine.entries()}
    assert known == {0, 1, 5000, 5001, *range(4, PRODUCERS_REMEMBERED_MAX)}
    machine.release(0)
    machine.replay(ProducerBatch(5002, 0, 0, 1), 5002, 0)
    assert 0 not in {entry.producer_id for entry in machine.entries()}


def test_a_producer_without_a_lane_is_not_remembered_among_as_many_that_have_one() -> None:
    machine = ProducerStateMachine()
    for producer_id in range(PRODUCERS_REMEMBERED_MAX):
        machine.hold(producer_id)
        machine.replay(ProducerBatch(producer_id, 0, 0, 1), producer_id, 0)
    machine.replay(ProducerBatch(5000, 0, 0, 1), 5000, 0)
    assert [entry.producer_id for entry in machine.entries()] == list(range(PRODUCERS_REMEMBERED_MAX))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 4)), max_size=60))
def test_the_log_holds_every_record_of_every_epoch_once_and_in_order(attempts: list[tuple[int, int, int]]) -> None:
    machine, log, end = ProducerStateMachine(), dict[int, list[int]](), 0
    for epoch, sequence, count in [(0, 0, 1), *attempts]:
        batch = ProducerBatch(7, epoch, sequence, count)
        before = [(entry.epoch, list(entry.batches)) for entry in machine.entries()]
        verdict = machine.check(batch)
        assert [(entry.epoch, list(entry.batches)) for entry in machine.entries()] == before
        records = log.setdefault(epoch, [])
        match verdict:
            case Append():
                records.extend(range(sequence, sequence + count))
                machine.replay(batch, end, 0)
                end += count
            case Duplicate():
                assert set(range(sequence, sequence + count)) <= set(records)
            case Fenced():
                assert any(log[later] for later in log if later > epoch)
            case OutOfOrder():
                assert sequence != len(records)
    for records in log.values():
        assert records == list(range(len(records)))


# --- budget -----------------------------------------------------------------------------------------------------------


def test_a_grant_beyond_the_budget_is_refused_with_the_figures_and_the_remedy() -> None:
    ledger = BudgetMachine(1000)
    ledger.take("ring", 600)
    ledger.check("a lane", 400)
    with pytest.raises(ShmBudgetExceededError, match=r"a lane needs 401 bytes.*600 of the cluster's 1000.*shm\.budget"):
        ledger.check("a lane", 401)
    ledger.release("ring")
    ledger.release("ring")
    ledger.check("a lane", 1000)


def test_a_client_may_hold_its_share_of_what_partitions_leave_and_no_more() -> None:
    ledger = BudgetMachine(1000, client_percent=50)
    ledger.check_share("a lane", 300, holder="client 1", held_bytes=0, for_clients=600)
    ledger.check_share("a lane", 50, holder="client 1", held_bytes=250, for_clients=600)
    wanted = r"a lane needs 51 bytes.*client 1 holds 250 and may hold 300, 50 % \(shm\.client\.percent\) of the 600"
    with pytest.raises(ShmBudgetExceededError, match=wanted):
        ledger.check_share("a lane", 51, holder="client 1", held_bytes=250, for_clients=600)
    with pytest.raises(ShmBudgetExceededError, match="may hold 0, 50 %"):
        ledger.check_share("a lane", 1, holder="client 1", held_bytes=0, for_clients=-5)


# --- producer ids -----------------------------------------------------------------------------------------------------


def test_a_producer_id_is_its_clients_and_nobody_elses() -> None:
    granted = producer_id_of(7, 3)
    check_producer_id(granted, 7)
    check_producer_id(producer_id_of(7, (1 << 32) + 3), 7)
    for client_id in (1, 6, 8, 7 << 32):
        with pytest.raises(InvalidProducerIdMappingError, match=f"{granted} was not granted to client {client_id}"):
            check_producer_id(granted, client_id)
    for nobodys in (0, 3, -2, -7):
        with pytest.raises(InvalidProducerIdMappingError):
            check_producer_id(nobodys, 7)
    check_producer_id(-1, 7)
    assert producer_id_of((1 << 31) - 1, (1 << 32) - 1) == (1 << 63) - 1, "Kafka's ids have 63 bits"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.sampled_from(["", "p", "q", None]))))
@example([("a", 0, ""), ("b", 0, ""), ("a", 0, "p"), ("b", 0, "")])  # two of no size, and one of them goes
def test_the_ledgers_totals_are_the_sums_of_what_is_there(script: list[tuple[str, int, str | None]]) -> None:
    ledger, model = BudgetMachine(10**6), dict[str, tuple[int, str]]()
    for name, size, holder in script:
        if holder is not None:
            ledger.take(name, size, holder)
            model[name] = size, holder
        else:
            ledger.release(name)
            model.pop(name, None)
    assert ledger.used_bytes == sum(size for size, _ in model.values())
    assert ledger.taken() == {name: size for name, (size, _) in model.items()}
    for holder in ("", "p", "q"):
        assert ledger.held_bytes(holder) == sum(size for size, held_by in model.values() if held_by == holder)
