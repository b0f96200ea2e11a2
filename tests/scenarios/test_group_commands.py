"""`cluster.admin` and `shmlog group` over consumer groups of a real cluster: looked at, set back, deleted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

import shmlog
from shmlog import TopicPartition
from shmlog.cli.group.places import complete_group, complete_place
from shmlog.cli.main import run
from shmlog.client.group_results import ConsumerGroupListing
from shmlog.errors import GroupSubscribedToTopicError, InvalidGroupIdError, NonEmptyGroupError, UnknownGroupError
from shmlog.model import OFFSETS_TOPIC, OffsetAndMetadata
from shmlog.testing import wait_until
from tests.scenarios.bare_member import BareMember, member
from tests.scenarios.conftest import Peer

pytestmark = pytest.mark.slow

P0, P1, P2 = (TopicPartition("flights", number) for number in range(3))
AGE_S = 36_000
"""Of the records: so long that nobody notices what the tests take."""
Command = Callable[..., str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[shmlog.Cluster]:
    """With 10, 20 and 30 records in three partitions, ten hours old."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHMLOG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        with shmlog.start(tmp_path_factory.mktemp("groups") / "data") as running:
            running.admin.create_topic("flights", partitions=3)
            with running.producer() as producer:
                start_ms = int(time.time() * 1000) - 1000 * AGE_S
                for place, count in ((P0, 10), (P1, 20), (P2, 30)):
                    for number in range(count):
                        producer.send(*place[:1], b"%d" % number, partition=place[1], timestamp_ms=start_ms + number)
            yield running


@pytest.fixture(autouse=True)
def commands_find_it(cluster: shmlog.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a runtime directory of its own otherwise."""
    directory = cluster.connection.paths.directory  # type: ignore[attr-defined]  # of the native cluster
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", os.path.dirname(directory))


@pytest.fixture
def delays(cluster: shmlog.Cluster) -> Iterator[str]:
    """A group without members that has read some of each partition."""
    cluster.admin.alter_consumer_group_offsets("delays", {P0: 10, P1: OffsetAndMetadata(5, "five"), P2: 5})
    yield "delays"
    for one in cluster.admin.list_consumer_groups():
        cluster.admin.delete_consumer_groups([one.group_id])


@pytest.fixture
def joined(cluster: shmlog.Cluster, delays: str) -> Iterator[BareMember]:
    """A member of it, that has all partitions."""
    peer = Peer(cluster.connection.paths)  # type: ignore[attr-defined]  # of the native cluster
    try:
        with member(peer, delays, "m1", ["flights"]) as one:
            assert one.follow() == [0, 1, 2]
            yield one
    finally:
        peer.close()


@pytest.fixture
def command(cluster: shmlog.Cluster, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str, code: int = 0) -> str:
        """What `shmlog group` prints; what it complains of, if that is expected."""
        capsys.readouterr()
        assert run(["group", *words, "--name", cluster.name]) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return call


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def offsets(cluster: shmlog.Cluster, group: str) -> dict[TopicPartition, int]:
    return {place: one.offset for place, one in cluster.admin.list_consumer_group_offsets(group).items()}


# --- before there is any ----------------------------------------------------------------------------------------------


def test_looking_for_groups_makes_no_topic_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        assert cluster.admin.list_consumer_groups() == []
        assert run(["group", "list", "--name", cluster.name]) == 0
        assert "no consumer groups yet" in capsys.readouterr().err
        for call in (
            cluster.admin.list_consumer_group_offsets,
            lambda group: cluster.admin.describe_consumer_groups([group]),
            lambda group: cluster.admin.delete_consumer_groups([group]),
            lambda group: cluster.admin.delete_consumer_group_offsets(group, [P0]),
        ):
            with pytest.raises(UnknownGroupError, match="no consumer group 'delays'"):
                call("delays")
        assert OFFSETS_TOPIC not in cluster.admin.list_topics(internal=True)


# --- admin ------------------------------------------------------------------------------------------------------------


def test_offsets_that_are_altered_are_committed_with_their_metadata(cluster: shmlog.Cluster, delays: str) -> None:
    assert cluster.admin.list_consumer_groups() == [ConsumerGroupListing(delays, "Empty", 0)]
    assert cluster.admin.list_consumer_group_offsets(delays, [P1]) == {P1: OffsetAndMetadata(5, "five")}
    (found,) = cluster.admin.describe_consumer_groups([delays])
    assert (found.state, found.members) == ("Empty", ())
    assert {place: one.offset for place, one in found.offsets.items()} == offsets(cluster, delays)
    assert all(abs(time.time() * 1000 - at_ms) < 60_000 for at_ms in found.commit_ms.values())


def test_a_group_with_a_member_says_what_that_reads_and_is_not_altered(
    cluster: shmlog.Cluster, delays: str, joined: BareMember
) -> None:
    (found,) = cluster.admin.describe_consumer_groups([delays])
    (reader,) = found.members
    assert (reader.member_id, reader.pid, reader.assignment) == ("m1", os.getpid(), (P0, P1, P2))
    assert found.readers == dict.fromkeys([P0, P1, P2], reader)
    with pytest.raises(NonEmptyGroupError):
        cluster.admin.alter_consumer_group_offsets(delays, {P0: 0})
    with pytest.raises(NonEmptyGroupError):
        cluster.admin.delete_consumer_groups([delays])
    with pytest.raises(GroupSubscribedToTopicError):
        cluster.admin.delete_consumer_group_offsets(delays, [P0])
    assert offsets(cluster, delays) == {P0: 10, P1: 5, P2: 5}


def test_wrong_names_and_offsets_are_refused(cluster: shmlog.Cluster, delays: str) -> None:
    with pytest.raises(UnknownGroupError, match="no consumer group 'dilays': did you mean 'delays'"):
        cluster.admin.describe_consumer_groups(["dilays"])
    with pytest.raises(InvalidGroupIdError):
        cluster.admin.alter_consumer_group_offsets("", {P0: 0})
    with pytest.raises(shmlog.InvalidRequestError, match="its log ends at 10"):
        cluster.admin.alter_consumer_group_offsets(delays, {P1: 7, P0: 11})
    wrong: list[Any] = [{P0: -1}, {P0: "0"}, {"flights": 0}, [P0]]
    for given in wrong:
        with pytest.raises(shmlog.InvalidArgumentError):
            cluster.admin.alter_consumer_group_offsets(delays, given)
    assert offsets(cluster, delays) == {P0: 10, P1: 5, P2: 5}


def test_a_coordinator_that_is_killed_is_waited_for(cluster: shmlog.Cluster, delays: str) -> None:
    pid = wait_until(lambda: cluster.admin.describe_topic(OFFSETS_TOPIC).partitions[0].pid)
    os.kill(pid, signal.SIGKILL)
    assert offsets(cluster, delays) == {P0: 10, P1: 5, P2: 5}
    cluster.admin.alter_consumer_group_offsets(delays, {P0: 3})
    assert offsets(cluster, delays) == {P0: 3, P1: 5, P2: 5}


# --- the command line -------------------------------------------------------------------------------------------------


def test_describe_shows_the_largest_lag_first_in_records_and_seconds(command: Command, delays: str) -> None:
    lines = command("describe", delays).splitlines()
    assert lines[0].startswith("group delays: Empty, epoch 0, 0 members, 40 records behind, 36,")
    table = rows("\n".join(lines[2:]))
    assert [row[:4] for row in table] == [
        ["flights-2", "5", "30", "25"],
        ["flights-1", "5", "20", "15"],
        ["flights-0", "10", "10", "0"],
    ]
    assert [AGE_S <= float(row[4].replace(",", "")) < 2 * AGE_S for row in table] == [True, True, False]
    found = orjson.loads(command("describe", delays, "-o", "json"))
    assert (found["lag"], found["partitions"][1]["metadata"]) == (40, "five")
    listed = orjson.loads(command("list", "-o", "json"))
    assert [(one["group"], one["lag"], one["partitions"]) for one in listed] == [(delays, 40, 3)]


def test_members_shows_processes_and_their_partitions(command: Command, delays: str, joined: BareMember) -> None:
    (found,) = orjson.loads(command("members", delays, "-o", "json"))
    assert (found["member"], found["pid"], found["assignment"]) == ("m1", os.getpid(), list(map(str, (P0, P1, P2))))
    assert "m1" in command("members", delays)
    described = orjson.loads(command("describe", delays, "-o", "json"))
    assert {one["pid"] for one in described["partitions"]} == {os.getpid()}


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["--to", "earliest"], {P0: 0, P1: 0, P2: 0}),
        (["--to", "latest", "--topic", "flights:2"], {P0: 10, P1: 5, P2: 30}),
        (["--to", "-2", "--topic", "flights:0", "--topic", "flights:1"], {P0: 8, P1: 3, P2: 5}),
        (["--to", "+100", "--topic", "flights"], {P0: 10, P1: 20, P2: 30}),
        (["--to", "7"], {P0: 7, P1: 7, P2: 7}),
        (["--to", "@2013-01-31T08:00:00+00:00"], {P0: 0, P1: 0, P2: 0}),
    ],
)
def test_reset_offsets_goes_there_and_a_dry_run_says_so_first(
    cluster: shmlog.Cluster, command: Command, delays: str, words: list[str], after: dict[TopicPartition, int]
) -> None:
    before = offsets(cluster, delays)
    planned = orjson.loads(command("reset-offsets", delays, *words, "--dry-run", "-o", "json"))
    assert offsets(cluster, delays) == before
    assert orjson.loads(command("reset-offsets", delays, *words, "-o", "json")) == planned
    assert offsets(cluster, delays) == after
    said = {TopicPartition(row["topic"], row["partition"]): row["offset"] for row in planned}
    assert before | said == after


def test_a_new_group_begins_where_it_is_told_to(cluster: shmlog.Cluster, command: Command, delays: str) -> None:
    assert "to make a new one" in command("reset-offsets", "nightly", "--to", "latest", code=1)
    command("reset-offsets", "nightly", "--to", "latest", "--topic", "flights:1")
    assert offsets(cluster, "nightly") == {P1: 20}


def test_a_group_with_members_is_not_reset_or_deleted(command: Command, delays: str, joined: BareMember) -> None:
    assert "has 1 member, which would go on where they are" in command("reset-offsets", delays, "--to", "0", code=1)
    assert "has 1 member: stop them first" in command("delete", delays, "--yes", code=1)


def test_a_dry_run_of_what_would_be_refused_ends_as_the_refusal_does(
    cluster: shmlog.Cluster, command: Command, delays: str, joined: BareMember, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has 1 member, which would go on" in command("reset-offsets", delays, "--to", "0", "--dry-run", code=1)
    assert "has 1 member: stop them first" in command("delete", delays, "--dry-run", code=1)
    assert "is subscribed to flights" in command("delete-offsets", delays, "--dry-run", code=1)
    assert run(["group", "reset-offsets", delays, "--to", "0", "--dry-run", "-o", "json", "--name", cluster.name]) == 1
    assert len(orjson.loads(capsys.readouterr().out)) == 3, "the plan is shown all the same"


def test_what_is_deleted_is_gone_once_it_was_agreed_to(cluster: shmlog.Cluster, command: Command, delays: str) -> None:
    assert "give --yes" in command("delete-offsets", delays, "--topic", "flights:0", code=2)
    command("delete-offsets", delays, "--topic", "flights:0", "--dry-run")
    assert set(offsets(cluster, delays)) == {P0, P1, P2}
    command("delete-offsets", delays, "--topic", "flights:0", "--yes")
    assert set(offsets(cluster, delays)) == {P1, P2}
    assert "give --yes" in command("delete", delays, code=2)
    assert command("delete", delays, "--dry-run") == "would delete delays: 2 committed offsets\n"
    assert command("delete", delays, "--yes") == "deleted delays: 2 committed offsets\n"
    assert cluster.admin.list_consumer_groups() == []


def test_words_that_make_no_sense_are_refused(command: Command, delays: str) -> None:
    assert "did you mean 'delays'" in command("describe", "dilays", code=1)
    assert "has no partition 9" in command("reset-offsets", delays, "--to", "0", "--topic", "flights:9", code=1)
    assert "--topic takes TOPIC" in command("reset-offsets", delays, "--to", "0", "--topic", "flights:x", code=2)
    assert "offset 31 is in none" in command("reset-offsets", delays, "--to", "31", code=1)


def test_groups_and_partitions_are_completed(cluster: shmlog.Cluster, delays: str) -> None:
    context = click.Context(click.Command("x"))
    context.params["name"] = cluster.name

    def completed(complete: Callable[..., list[Any]], typed: str) -> list[str]:
        return [item.value for item in complete(context, click.Argument(["x"]), typed)]

    assert completed(complete_group, "de") == [delays]
    assert completed(complete_group, "x") == []
    assert completed(complete_place, "fl") == ["flights"]
    assert completed(complete_place, "flights:") == ["flights:0", "flights:1", "flights:2"]
    context.params["name"] = "no such cluster"
    assert completed(complete_group, "de") == []
