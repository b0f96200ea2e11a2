"""Parts of the supervisor that need no processes: its loop, its trash, the records of its log, a late answer."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.control.catalog import decode_record, encode_record
from shmlog.control.channel import Channel
from shmlog.control.messages import CreateTopic, Done, Failed, Ping, Pong, Reply
from shmlog.errors import (
    CorruptRecordError,
    ForeignVersionError,
    InvalidRequestError,
    StorageError,
)
from shmlog.limits import TRASH_ROOM_BYTES, ZYGOTE_IMPORT_S
from shmlog.machines.metadata_records import (
    DirectoryRegistered,
    IdsReserved,
    InSyncChanged,
    LeaderEpochRaised,
    LogAbandoned,
    LogErased,
    MetadataRecord,
    PartitionsAdded,
    ReplicasAssigned,
    TopicAdded,
    TopicConfigReplaced,
    TopicDeleted,
    TopicDeletionBegun,
)
from shmlog.machines.supervision import OwnerPhase
from shmlog.settings import ClusterConfig
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.clients import Client, Clients
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.metadata import Catalog, MetadataLostError
from shmlog.supervisor.topics import START_TIMEOUT_S, Topics
from shmlog.supervisor.trash import Trash
from shmlog.supervisor.zygote import ZygoteLink
from shmlog.supervisor.zygote_process import ZygoteProcess
from shmlog.testing.processes import killed_afterwards
from tests.no_followers import no_followers

# --- loop -------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_timers_run_in_the_order_in_which_they_are_due_and_a_cancelled_one_never() -> None:
    clock, calls = Clock(), list[str]()
    loop = Loop(clock)
    loop.call_at(30, lambda: calls.append("c"))
    loop.call_at(10, lambda: calls.append("a"))
    loop.call_at(20, lambda: calls.append("never")).cancel()
    loop.call_at(10, lambda: calls.append("b"))
    clock.now_ns = 10
    loop.run_once(0.0)
    assert calls == ["a", "b"]
    clock.now_ns = 30
    loop.run_once(0.0)
    assert calls == ["a", "b", "c"]
    loop.close()


def test_a_descriptor_that_an_earlier_callback_forgot_is_not_called_even_if_its_number_is_used_again() -> None:
    loop, calls = Loop(), list[str]()
    first, second = os.pipe(), os.pipe()
    watches: dict[str, Watch] = {}

    def one_closes_the_other(mine: str, other: str) -> None:
        calls.append(mine)
        loop.forget(watches[mine])
        loop.forget(watches[other])

    watches["a"] = loop.watch(first[0], lambda: one_closes_the_other("a", "b"))
    watches["b"] = loop.watch(second[0], lambda: one_closes_the_other("b", "a"))
    for _, writing in (first, second):
        os.write(writing, b"x")
    loop.run_once(1.0)
    assert len(calls) == 1
    for fd in (*first, *second):
        os.close(fd)
    loop.close()


def test_stop_ends_the_loop_at_once() -> None:
    loop = Loop()
    loop.call_in(0.0, loop.stop)
    loop.call_in(1000.0, lambda: pytest.fail("not due"))
    loop.run()
    loop.close()


# --- records of the metadata log --------------------------------------------------------------------------------------

ids, names = st.integers(0, 2**40), st.text(st.characters(codec="utf-8"), max_size=10)
configs = st.dictionaries(names, names, max_size=3)
records = st.one_of(
    st.builds(TopicAdded, names, names, st.booleans(), st.lists(ids), configs),
    st.builds(PartitionsAdded, names, st.lists(ids)),
    st.builds(TopicConfigReplaced, names, configs),
    st.builds(TopicDeletionBegun, names),
    st.builds(TopicDeleted, names),
    st.builds(LeaderEpochRaised, ids, ids),
    st.builds(ReplicasAssigned, ids, st.lists(ids), st.lists(names)),
    st.builds(InSyncChanged, ids, ids, st.lists(ids)),
    st.builds(DirectoryRegistered, names, names),
    st.builds(LogAbandoned, names, names, names),
    st.builds(LogErased, names, names, names),
    st.builds(IdsReserved, st.sampled_from(["producer", "client", "lane"]), ids),
)


@given(records)
def test_a_record_survives_the_log(record: MetadataRecord) -> None:
    assert decode_record(encode_record(record), 0) == record


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, CorruptRecordError),
        (b"\xff", CorruptRecordError),
        (b"[]", CorruptRecordError),
        (b"7", CorruptRecordError),
        (b'{"type":"TopicDeleted"}', CorruptRecordError),
        (b'{"type":"TopicDeleted","version":1,"topic_id":"x"}', ForeignVersionError),
        (b'{"type":"TopicDeleted","version":0,"topic_id":"x","more":1}', ForeignVersionError),
        (b'{"type":"TopicSharded","version":0}', ForeignVersionError),
    ],
)
def test_a_record_that_this_version_did_not_write_is_refused_naming_its_offset(
    value: bytes | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match="at offset 41"):
        decode_record(value, 41)


def test_what_was_committed_is_there_after_a_crash_and_ids_are_not_handed_out_again(tmp_path: Path) -> None:
    config = ClusterConfig.from_mapping({})
    catalog = Catalog(str(tmp_path), config)
    step = catalog.machine.create_topic("t", topic_id="id", partitions=2)
    catalog.commit(step.records)
    catalog.commit((LeaderEpochRaised(1, 0), LeaderEpochRaised(1, 1)))
    handed_out = [catalog.next_id("lane") for _ in range(1500)]
    assert len(set(handed_out)) == 1500
    catalog.close(clean=False)  # as after SIGKILL
    again = Catalog(str(tmp_path), config)
    partition = again.machine.partition("t", 1)
    assert (partition.partition_id, partition.leader_epoch) == (1, 1)
    assert again.next_id("lane") > max(handed_out)
    again.close(clean=True)


def test_a_record_is_on_the_disk_before_anybody_can_see_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, seen = Catalog(str(tmp_path), ClusterConfig.from_mapping({})), list[int]()
    sync = os.fdatasync

    def fdatasync(fd: int) -> None:
        sync(fd)
        seen.append(len(catalog.machine.topics()))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    catalog.commit(catalog.machine.create_topic("t", topic_id="id", partitions=1).records)
    assert seen[:1] == [0]
    assert len(catalog.machine.topics()) == 1
    catalog.close(clean=True)


def test_a_disk_that_refuses_a_record_ends_the_supervisor_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(str(tmp_path), ClusterConfig.from_mapping({}))
    step = catalog.machine.create_topic("t", topic_id="id", partitions=1)

    def fdatasync(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(MetadataLostError, match="cannot be written: .*Input/output error.*; the supervisor stops"):
        catalog.commit(step.records)
    assert catalog.machine.topics() == []
    catalog.close(clean=False)


# --- zygote -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, in the place of a zygote."""
    with killed_afterwards(subprocess.Popen(["sleep", "1000"])) as process:
        yield process


def test_a_zygote_has_time_to_import_and_is_killed_when_it_owes_an_answer_later(
    sleeper: subprocess.Popen[bytes],
) -> None:
    clock = Clock()
    loop = Loop(clock)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    zygote = Channel(theirs, passes_fds=True)
    link = ZygoteLink(loop, "no.module", ZygoteProcess(sleeper.pid, ours))

    def look_at(seconds: float) -> None:
        clock.now_ns = int(seconds * 1e9)
        link.look(patience_ns=1_000_000_000)
        loop.run_once(0.0)

    look_at(0.0)
    assert isinstance(zygote.receive(), Ping)
    look_at(ZYGOTE_IMPORT_S - 0.1)  # longer than an owner may be silent
    assert zygote.receive() is None, "it is asked once"
    zygote.send(Pong())
    loop.run_once(0.0)
    look_at(100.0)
    look_at(100.9)
    assert sleeper.poll() is None
    look_at(101.0)
    ended = os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # the link is who reaps it
    assert ended is not None
    assert ended.si_status == signal.SIGKILL
    link.close()
    zygote.close()
    loop.close()


# --- trash, answers, capacity -----------------------------------------------------------------------------------------


def test_trash_is_out_of_the_way_at_once_removed_step_by_step_and_resumed_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "old-0.someid-delete").mkdir()
    (tmp_path / "old-0.someid-delete" / "left").write_text("x")
    log_dir = tmp_path / ("t" * 249 + "-0")
    log_dir.mkdir()
    for number in range(3):
        (log_dir / f"{number}.log").write_text("x")
    loop = Loop()
    trash = Trash(loop, [str(tmp_path)])
    trash.throw_away(str(log_dir), "a" * 22)
    trash.throw_away(str(tmp_path / "was-never-there-0"), "b")
    assert not log_dir.exists()
    rounds = 0
    while os.listdir(tmp_path):
        loop.run_once(0.0)
        rounds += 1
        assert rounds < 50
    assert rounds >= 4  # one file a round
    loop.close()


def test_trash_waits_for_its_time_unless_its_disk_has_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    loop = Loop(clock)
    trash = Trash(loop, [str(tmp_path)], reserve_bytes=TRASH_ROOM_BYTES + 1)
    free = [TRASH_ROOM_BYTES + 1]
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free[0], f_frsize=1))

    def left_after(seconds: float) -> list[str]:
        clock.now_ns += int(seconds * 1e9)
        for _ in range(4):
            loop.run_once(0.0)
        return sorted(os.listdir(tmp_path))

    for name, delay_ms in (("a-0", 60_000), ("b-0", 5000), ("c-0", 0)):
        (tmp_path / name).mkdir()
        trash.throw_away(str(tmp_path / name), "id", delay_ms)
    assert left_after(0.0) == ["a-0.id-delete", "b-0.id-delete"]
    assert left_after(4.9) == ["a-0.id-delete", "b-0.id-delete"]
    assert left_after(0.2) == ["a-0.id-delete"]
    assert left_after(50.0) == ["a-0.id-delete"]
    free[0] -= 1
    assert left_after(2.0) == []
    loop.close()


def test_an_answer_is_given_once() -> None:
    given_answers = list[Reply]()
    answer = Answer(7, given_answers.append)
    answer.done()
    answer.fail(InvalidRequestError("too late"))
    assert given_answers == [Done(7)]
    Answer(8, given_answers.append).fail(InvalidRequestError("why"))
    assert given_answers[1] == Failed(8, "InvalidRequestError", "why")


def test_a_topic_whose_owners_do_not_start_in_time_is_answered_with_what_they_said_last(tmp_path: Path) -> None:
    clock, given_answers = Clock(), list[Reply]()
    loop, catalog = Loop(clock), Catalog(str(tmp_path), ClusterConfig.from_mapping({}))
    said = SimpleNamespace(error={0: "", 1: "StorageError: the disk is full"}.get, phase=lambda _: OwnerPhase.STARTING)
    owners = SimpleNamespace(watchers=[], machine=said, want=lambda _: None, unwant=lambda *_, **__: None)
    directories = LogDirectories([LogDirectory("", str(tmp_path))])
    identity = SimpleNamespace(config=ClusterConfig.from_mapping({}), directories=directories)
    regions = SimpleNamespace(check_partitions=lambda *_: None)
    parts: Any = (loop, identity, catalog, regions, owners, no_followers(), None, None)
    Topics(*parts).create(CreateTopic(0, "t", 2, 1, {}), Answer(7, given_answers.append))
    clock.now_ns = int(START_TIMEOUT_S * 1e9)
    loop.run_once(0.0)
    (refusal,) = given_answers
    assert isinstance(refusal, Failed)
    assert refusal.message.endswith(
        "2 of its partitions have no running owner after 27 s: StorageError: the disk is full"
    )
    catalog.close(clean=True)
    loop.close()


def test_a_metadata_log_that_cannot_be_opened_is_one_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "__cluster_metadata-0").write_text("in the way")
    with pytest.raises(StorageError, match="the metadata log .*__cluster_metadata-0 cannot be opened: "):
        Catalog(str(tmp_path), ClusterConfig.from_mapping({}))


def test_a_metadata_log_that_cannot_be_closed_cleanly_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = ClusterConfig.from_mapping({})
    catalog = Catalog(str(tmp_path), config)
    granted = catalog.next_id("client")

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken_disk:
        broken_disk.setattr(os, "fdatasync", refuse)
        catalog.close(clean=True)
    assert "was not closed cleanly" in caplog.text
    again = Catalog(str(tmp_path), config)
    assert again.next_id("client") > granted
    again.close(clean=True)


@pytest.mark.parametrize(("was", "is_now"), [(77, 78), (0, 78), (77, 0)])
def test_a_client_of_an_earlier_supervisor_is_taken_back_only_with_the_pid_that_it_had(was: int, is_now: int) -> None:
    """Regression: of a client in another pid namespace no pid is known (0), and anybody could come back as that one.
    Lanes and producer ids go with a client's id."""
    nobody: Any = None
    clients = Clients(nobody, nobody, nobody, nobody)
    clients._add(Client(5, was, "/region", attached=False), None)
    with pytest.raises(InvalidRequestError, match="client 5 is not known here"):
        clients.reattach(5, is_now, None)
    assert clients.reattach(5, was, None).attached
