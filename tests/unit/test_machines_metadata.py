"""The catalog: requests answer with records and actions, and only replay changes what it knows."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import (
    InvalidConfigError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    ShmlogError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from shmlog.machines.metadata import (
    CatalogStep,
    ConfigurePartition,
    ErasePartition,
    MetadataMachine,
    StartPartition,
)
from shmlog.machines.metadata_records import (
    IdsReserved,
    LeaderEpochRaised,
    MetadataRecord,
    PartitionsAdded,
    ReplicasAssigned,
    TopicAdded,
    TopicConfigReplaced,
    TopicDeleted,
    TopicDeletionBegun,
)
from shmlog.machines.step import Step
from shmlog.machines.topic_settings import SettingsChange


def machine_with(*records: MetadataRecord) -> MetadataMachine:
    machine = MetadataMachine(partitions_default=2, topic_defaults={"segment.ms": "5"})
    for record in records:
        machine.replay(record)
    return machine


FLIGHTS = TopicAdded("flights", "idf", False, [0, 1], {"retention.ms": "9"})


def test_a_topic_exists_when_its_record_is_replayed_and_not_before() -> None:
    machine = machine_with()
    step = machine.create_topic("flights", topic_id="idf", partitions=None, config={"retention_ms": 9})
    placed = (ReplicasAssigned(0, [0], [""]), ReplicasAssigned(1, [0], [""]))
    assert step == Step(records=(FLIGHTS, *placed), actions=(StartPartition(0), StartPartition(1)))
    assert machine.topics() == []
    machine.replay(FLIGHTS)
    assert machine.partition("flights", 1).partition_id == 1
    effective = machine.effective_config(machine.topic("flights"))
    assert (effective["retention.ms"], effective["segment.ms"], effective["flush.messages"][:3]) == ("9", "5", "922")


def test_partition_ids_are_never_used_again() -> None:
    machine = machine_with(FLIGHTS, TopicDeletionBegun("idf"), TopicDeleted("idf"))
    added, _ = machine.create_topic("flights", topic_id="idg", partitions=1).records
    assert added == TopicAdded("flights", "idg", False, [2], {})
    machine.replay(added)
    assert machine.create_topic("b", topic_id="idh", partitions=1).actions == (StartPartition(3),)


def test_altering_changes_settings_and_partitions_together_or_not_at_all() -> None:
    machine = machine_with(FLIGHTS)
    step = machine.alter_topic(
        "flights", change=SettingsChange({"segment.bytes": 2_000_000}, ["retention.ms"]), partitions=3
    )
    assert step.records == (
        TopicConfigReplaced("idf", {"segment.bytes": "2000000"}),
        PartitionsAdded("idf", [2]),
        ReplicasAssigned(2, [0], [""]),
    )
    assert step.actions == (ConfigurePartition(0), ConfigurePartition(1), StartPartition(2))
    with pytest.raises(InvalidPartitionsError, match="only be added, so not 1"):
        machine.alter_topic("flights", change=SettingsChange({"segment.ms": 7}), partitions=1)
    assert machine.alter_topic("flights", change=SettingsChange(unset=["segment.ms"]), partitions=2) == Step()


def test_added_partitions_have_as_many_replicas_as_those_before() -> None:
    machine = machine_with()
    disks = ["d0", "d1", "d2"]
    step = machine.create_topic("t", topic_id="t", partitions=1, replication_factor=2, directories=disks)
    machine = machine_with(*step.records)
    _, added = machine.alter_topic("t", partitions=2, directories=disks).records
    assert added == ReplicasAssigned(1, [0, 1], ["d2", "d0"])


def test_a_topic_being_deleted_is_invisible_and_its_name_is_taken_until_it_is_gone() -> None:
    machine = machine_with(FLIGHTS)
    step = machine.delete_topic("flights")
    assert step == Step(records=(TopicDeletionBegun("idf"),), actions=(ErasePartition(0), ErasePartition(1)))
    machine.replay(step.records[0])
    assert machine.topics() == []
    assert [topic.name for topic in machine.deletions()] == ["flights"]
    with pytest.raises(TopicAlreadyExistsError, match="being deleted"):
        machine.create_topic("flights", topic_id="x", partitions=1)
    with pytest.raises(UnknownTopicOrPartitionError):
        machine.delete_topic("flights")
    machine.replay(machine.finish_deletion("idf").records[0])
    assert machine.partitions() == []
    machine.create_topic("flights", topic_id="x", partitions=1)


def test_reserved_ids_are_never_reserved_again_even_if_nobody_used_them() -> None:
    machine = machine_with()
    first, step = machine.reserve_ids("lane")
    machine.replay(step.records[0])
    second, _ = machine_with(*step.records).reserve_ids("lane")
    assert first.stop == second.start


def test_a_leader_epoch_never_goes_back() -> None:
    machine = machine_with(FLIGHTS, LeaderEpochRaised(1, 4))
    with pytest.raises(AssertionError):
        machine.replay(LeaderEpochRaised(1, 4))


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ä", "x" * 250, "a/b", "__cluster_metadata", "a\n"])
def test_a_topic_name_that_kafka_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidTopicError, match="cannot be the name of a topic"):
        machine_with().create_topic(name, topic_id="x", partitions=1)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m.topic("flihgts"), UnknownTopicOrPartitionError, "did you mean 'flights'"),
        (
            lambda m: machine_with().topic("flights"),
            UnknownTopicOrPartitionError,
            "no topics yet; `shmlog topic create`",
        ),
        (lambda m: m.partition("flights", 2), UnknownTopicOrPartitionError, "partitions 0 to 1, not 2"),
        (lambda m: m.partition("flights", -1), UnknownTopicOrPartitionError, "not -1"),
        (
            lambda m: m.create_topic("flights", topic_id="x", partitions=1),
            TopicAlreadyExistsError,
            "or delete it first",
        ),
        (lambda m: m.create_topic("a", topic_id="x", partitions=0), InvalidPartitionsError, "1 to 10000"),
        (
            lambda m: m.create_topic("a", topic_id="x", partitions=1, replication_factor=17),
            InvalidReplicationFactorError,
            "must be 1 to 16, not 17",
        ),
        (
            lambda m: m.create_topic("a", topic_id="x", partitions=1, config={"retention.mss": 1}),
            InvalidConfigError,
            "did you mean 'retention.ms'",
        ),
        (
            lambda m: m.create_topic("a", topic_id="x", partitions=1, config={"shm.ring.bytes": 1}),
            InvalidConfigError,
            "shm.ring.bytes must be 0 or at least",
        ),
        (
            lambda m: m.alter_topic("flights", change=SettingsChange(unset=["nonsense"])),
            InvalidConfigError,
            "unknown topic setting 'nonsense'",
        ),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_what_would_be_right(
    call: object, error: type[ShmlogError], text: str
) -> None:
    assert callable(call)
    with pytest.raises(error) as caught:
        call(machine_with(FLIGHTS))
    assert text in str(caught.value)


names = st.sampled_from(["a", "b", "c"])
operations = st.one_of(
    st.tuples(st.just("create"), names, st.integers(1, 3)),
    st.tuples(st.just("replicate"), names, st.integers(1, 5)),
    st.tuples(st.just("register"), names, st.integers(0, 2)),
    st.tuples(st.just("come back"), names, st.just(0)),
    st.tuples(st.just("alter"), names, st.integers(1, 5)),
    st.tuples(st.just("delete"), names, st.just(0)),
    st.tuples(st.just("finish"), names, st.just(0)),
    st.tuples(st.just("reserve"), names, st.just(0)),
)


def request(machine: MetadataMachine, operation: tuple[str, str, int], number: int) -> CatalogStep:
    match operation:
        case ("create", name, count):
            return machine.create_topic(name, topic_id=f"id{number}", partitions=count)
        case ("replicate", name, count):
            return machine.create_topic(
                name, topic_id=f"id{number}", partitions=2, replication_factor=count, directories=["d0", "d1"]
            )
        case ("register", name, count):
            return machine.register_directories({f"d{count}": f"/{name}"})
        case ("come back", _, _):
            return machine.erased(machine.abandoned("d1"))
        case ("alter", name, count):
            return machine.alter_topic(name, change=SettingsChange({"segment.ms": number + 1}), partitions=count)
        case ("delete", name, _):
            return machine.delete_topic(name)
        case ("finish", _, _):
            ending = machine.deletions()
            return machine.finish_deletion(ending[0].topic_id, {"", "d0"}) if ending else Step()
        case _:
            return machine.reserve_ids("producer")[1]


def picture(machine: MetadataMachine) -> object:
    return copy.deepcopy(vars(machine))


@given(st.lists(operations, max_size=40))
def test_requests_change_nothing_and_a_replay_of_the_log_gives_the_same_catalog(
    script: list[tuple[str, str, int]],
) -> None:
    machine, log = machine_with(), list[MetadataRecord]()
    seen_ids: set[int] = set()
    for number, operation in enumerate(script):
        before = picture(machine)
        try:
            step = request(machine, operation, number)
        except ShmlogError:
            assert picture(machine) == before
            continue
        assert picture(machine) == before
        for record in step.records:
            if isinstance(record, (TopicAdded, PartitionsAdded)):
                assert seen_ids.isdisjoint(record.partition_ids)
                seen_ids.update(record.partition_ids)
            machine.replay(record)
        log.extend(step.records)
    again = machine_with(*log)
    assert picture(again) == picture(machine)


def test_an_id_block_is_a_record() -> None:
    assert machine_with().reserve_ids("client")[1].records == (IdsReserved("client", 1001),)


def test_a_log_with_a_leader_epoch_of_a_deleted_partition_opens() -> None:
    """Regression: a supervisor that began on a full disk wrote one, and no later one could start."""
    machine = machine_with(FLIGHTS, TopicDeletionBegun("idf"), TopicDeleted("idf"), LeaderEpochRaised(0, 0))
    assert machine.partitions() == []
