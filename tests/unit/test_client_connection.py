"""A client's connection: requests from several threads, and a supervisor that dies and comes back."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shmlog.client import connection as connection_module
from shmlog.client.connection import Connection
from shmlog.control import life
from shmlog.control.life import LifeLock
from shmlog.control.messages import (
    CreateTopic,
    DescribeTopics,
    Subscribe,
    TopicCreated,
    TopicsDescribed,
    Unsubscribe,
)
from shmlog.control.paths import RuntimePaths, make_runtime_directory, runtime_paths
from shmlog.errors import (
    BrokerNotAvailableError,
    ForkedHandleError,
    HandleClosedError,
    NoClusterError,
    PollTimeoutError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory import region
from shmlog.testing import wait_until
from shmlog.testing.fake_supervisor import FakeSupervisor

IGNORE_FORK_WITH_THREADS = "ignore:.*multi-threaded.*fork:DeprecationWarning"


@pytest.fixture
def paths() -> RuntimePaths:
    return runtime_paths("planes")


@pytest.fixture
def supervisor(paths: RuntimePaths) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(paths) as running:
        running.topics["flights"] = 2
        yield running


@pytest.fixture
def connection(supervisor: FakeSupervisor) -> Iterator[Connection]:
    connected = Connection("planes", supervisor.paths)
    yield connected
    connected.close()


def topic_names(connection: Connection) -> list[str]:
    return [topic.name for topic in connection.request(DescribeTopics(0, None), TopicsDescribed).topics]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_gets_its_reply(connection: Connection) -> None:
    assert topic_names(connection) == ["flights"]


def test_a_refusal_is_raised_as_the_error_that_the_supervisor_named(connection: Connection) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="did you mean 'flights'"):
        connection.request(DescribeTopics(0, ["flihgts"]), TopicsDescribed)


def test_a_silent_supervisor_costs_the_timeout_and_its_late_answer_confuses_nobody(
    connection: Connection, supervisor: FakeSupervisor
) -> None:
    supervisor.silent_on = (CreateTopic,)
    with pytest.raises(PollTimeoutError, match="did not answer in time"):
        connection.request(CreateTopic(0, "x", 1, 1, {}), TopicCreated, timeout_s=0.05)
    assert topic_names(connection) == ["flights"]


def test_a_request_that_waits_long_does_not_hold_up_other_threads(
    connection: Connection, supervisor: FakeSupervisor
) -> None:
    supervisor.silent_on = (CreateTopic,)
    outcome: list[HandleClosedError] = []

    def wait_in_vain() -> None:
        try:
            connection.request(CreateTopic(0, "x", 1, 1, {}), TopicCreated, timeout_s=60)
        except HandleClosedError as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait_in_vain)
    waiting.start()
    wait_until(lambda: any(isinstance(message, CreateTopic) for message in supervisor.received))
    for _ in range(20):
        assert topic_names(connection) == ["flights"]
    assert waiting.is_alive()
    connection.close()
    waiting.join(20.0)
    assert len(outcome) == 1


def test_many_threads_get_each_their_own_reply(connection: Connection, supervisor: FakeSupervisor) -> None:
    supervisor.topics.update({f"topic-{number}": 1 for number in range(8)})
    wrong: list[str] = []

    def ask_for(name: str) -> None:
        for _ in range(50):
            (topic,) = connection.request(DescribeTopics(0, [name]), TopicsDescribed).topics
            if topic.name != name:
                wrong.append(topic.name)

    threads = [threading.Thread(target=ask_for, args=(f"topic-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- who is there -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nobody_waits_for_a_supervisor")
def test_without_a_cluster_the_error_comes_at_once_and_says_how_to_start_one(paths: RuntimePaths) -> None:
    with pytest.raises(NoClusterError, match=r"no cluster 'planes' is running .* `shmlog up --name planes`"):
        Connection("planes", paths, timeout_s=30.0)


def test_a_mistyped_cluster_name_is_answered_with_those_that_run(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = runtime_paths("trains")
    make_runtime_directory(dead)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(dead.control_socket)
    monkeypatch.setattr(life, "holder", {supervisor.paths.supervisor_lock: 1}.get)
    with pytest.raises(NoClusterError, match=r"running there: planes\)"):
        Connection("plains", runtime_paths("plains"))


def test_a_client_waits_for_a_supervisor_that_is_just_starting(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runtime_directory(paths)
    started: list[FakeSupervisor] = []

    def somebody_holds_the_lock(path: str) -> int:
        assert path == paths.supervisor_lock
        if not started:
            started.append(FakeSupervisor(paths))
        return 1

    monkeypatch.setattr(life, "holder", somebody_holds_the_lock)
    connection = Connection("planes", paths)
    assert connection.client_id == 1
    connection.close()
    started[0].stop(forget=True)


def test_a_connected_client_holds_its_life_lock_and_lets_go_of_it_when_it_closes(
    connection: Connection, supervisor: FakeSupervisor
) -> None:
    assert supervisor.lives(connection.client_id)
    connection.close()
    assert not supervisor.lives(1)
    with pytest.raises(HandleClosedError):
        topic_names(connection)


# --- a supervisor that comes back -------------------------------------------------------------------------------------


def restarted(supervisor: FakeSupervisor, *, forget: bool = False, knows_old_clients: bool = True) -> FakeSupervisor:
    supervisor.stop(forget=forget)
    successor = FakeSupervisor(supervisor.paths, first_client_id=7)
    successor.topics = supervisor.topics
    successor.knows_old_clients = knows_old_clients
    return successor


@pytest.fixture
def old_supervisor(paths: RuntimePaths) -> FakeSupervisor:
    """The test stops it."""
    running = FakeSupervisor(paths)
    running.topics["flights"] = 2
    return running


def test_a_restarted_supervisor_is_greeted_with_the_old_client_id(old_supervisor: FakeSupervisor) -> None:
    connection = Connection("planes", old_supervisor.paths)
    doorbell = connection.doorbell
    with restarted(old_supervisor) as supervisor:
        assert topic_names(connection) == ["flights"]
        assert supervisor.hellos == [1]
        assert (connection.client_id, connection.registrations, connection.reconnects) == (1, 1, 1)
        assert connection.doorbell is doorbell
        assert supervisor.lives(1)
        connection.close()


def test_subscriptions_are_told_to_the_restarted_supervisor(old_supervisor: FakeSupervisor) -> None:
    connection = Connection("planes", old_supervisor.paths)
    connection.subscribe([1000, 1001])
    connection.subscribe([1001])
    connection.unsubscribe([1000, 1001])
    wait_until(lambda: old_supervisor.subscribed == {1001})  # the second consumer still waits for it
    with restarted(old_supervisor) as supervisor:
        connection.look()
        assert supervisor.subscribed == {1001}
        connection.unsubscribe([1001])
        wait_until(lambda: supervisor.subscribed == set())
        connection.close()


def test_a_cluster_that_came_back_from_nothing_registers_its_clients_anew(old_supervisor: FakeSupervisor) -> None:
    connection = Connection("planes", old_supervisor.paths)
    with restarted(old_supervisor, forget=True, knows_old_clients=False) as supervisor:
        assert topic_names(connection) == ["flights"]
        assert supervisor.hellos == [1, None]
        assert (connection.client_id, connection.registrations) == (7, 2)
        assert not supervisor.lives(1)
        assert supervisor.lives(7)
        slot = connection.claim_slot(5)
        assert slot is not None
        slot.store_position(42)
        assert connection.region.positions() == [(5, 42)]
        connection.close()


def test_a_namesake_of_our_region_is_not_taken_for_ours(old_supervisor: FakeSupervisor) -> None:
    """The new cluster accepts our id, because it counts from 1 again; the region behind that name is another one."""
    connection = Connection("planes", old_supervisor.paths)
    old_region = connection.region
    with restarted(old_supervisor, forget=True) as supervisor:
        other = Connection("planes", supervisor.paths)  # makes c7; ours, c1, must exist for Hello(1) to make sense
        name = connection.welcome.client_region
        region.create(name, old_region.mapping.size_bytes)
        fresh = region.open_region(name, writable=True)
        fresh.write(0, old_region.mapping.read(0, 4096))
        fresh.close()
        topic_names(connection)
        assert connection.registrations == 2
        assert connection.region is not old_region
        connection.close()
        other.close()


def test_a_request_that_may_have_been_carried_out_is_not_repeated(
    connection: Connection, supervisor: FakeSupervisor
) -> None:
    supervisor.dies_on = [CreateTopic]
    with pytest.raises(BrokerNotAvailableError, match="may have been carried out or not"):
        connection.request(CreateTopic(0, "x", 1, 1, {}), TopicCreated)
    assert sum(isinstance(message, CreateTopic) for message in supervisor.received) == 1
    assert topic_names(connection) == ["flights"]


def test_a_request_that_is_harmless_to_repeat_is_repeated(connection: Connection, supervisor: FakeSupervisor) -> None:
    supervisor.dies_on = [DescribeTopics, DescribeTopics]
    assert topic_names(connection) == ["flights"]
    assert connection.reconnects == 2


def test_a_request_that_kills_every_supervisor_is_given_up(connection: Connection, supervisor: FakeSupervisor) -> None:
    supervisor.dies_on = [DescribeTopics] * 100
    with pytest.raises(BrokerNotAvailableError, match="went away over a DescribeTopics request, 4 times"):
        topic_names(connection)


def test_a_supervisor_that_stays_away_is_an_error_after_a_while(
    old_supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 0.1)
    connection = Connection("planes", old_supervisor.paths)
    old_supervisor.stop(forget=True)
    with pytest.raises(NoClusterError, match="is gone and has not come back"):
        topic_names(connection)
    assert connection.ask(DescribeTopics(0, None)) is None
    connection.unsubscribe([1])  # needs nobody
    connection.close()


def test_a_question_is_answered_without_waiting(connection: Connection, supervisor: FakeSupervisor) -> None:
    supervisor.silent_on = (Subscribe, Unsubscribe)
    question = connection.ask(DescribeTopics(0, ["flights"]))
    assert question is not None
    answer = wait_until(lambda: question.answer(TopicsDescribed))
    assert answer is not None
    assert answer.topics[0].name == "flights"
    refused = connection.ask(DescribeTopics(0, ["nothing"]))
    assert refused is not None

    with pytest.raises(UnknownTopicOrPartitionError):
        wait_until(lambda: refused.answer(TopicsDescribed))


# --- fork -------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(IGNORE_FORK_WITH_THREADS)
def test_a_forked_child_gets_an_error_and_disturbs_nothing(connection: Connection, supervisor: FakeSupervisor) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        verdict = b"no error"
        with suppress(BaseException):
            try:
                topic_names(connection)
            except ForkedHandleError:
                verdict = b"forked"
            connection.close()
        os.write(write, verdict)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert os.read(read, 100) == b"forked"
    os.close(read)
    assert supervisor.lives(connection.client_id)
    assert topic_names(connection) == ["flights"]
    assert connection.reconnects == 0


def test_a_life_file_of_a_namesake_is_left_alone(old_supervisor: FakeSupervisor) -> None:
    """When the runtime directory was made anew, the file of our number may be another client's."""
    connection = Connection("planes", old_supervisor.paths)
    old_supervisor.stop(forget=True)
    os.unlink(old_supervisor.paths.life(1))
    namesake = LifeLock.acquire(old_supervisor.paths.life(1))
    supervisor = FakeSupervisor(old_supervisor.paths, first_client_id=9)
    supervisor.knows_old_clients = False
    topic_names(connection)
    assert connection.client_id == 9
    assert os.path.exists(supervisor.paths.life(1))
    connection.close()
    namesake.release()
    supervisor.stop(forget=True)
