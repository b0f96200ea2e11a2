"""What a client is told about a supervisor that does not answer: stopped, killed, busy, or about to listen."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shmlog.client.connection import Connection
from shmlog.control.messages import DescribeTopics, TopicsDescribed
from shmlog.errors import BrokerNotAvailableError, NoClusterError, PollTimeoutError
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

MANY = 300
"""More than the backlog of the control socket."""


@pytest.fixture
def stopped(daemon: Daemon) -> Iterator[Daemon]:
    """A cluster whose supervisor is stopped until the test is over."""
    daemon.start()
    stop(daemon)
    yield daemon
    os.kill(daemon.pid, signal.SIGCONT)


def stop(daemon: Daemon) -> None:
    """SIGSTOP, and wait until it stands still: on a busy machine that is not at once."""
    os.kill(daemon.pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def test_a_stopped_supervisor_is_named_with_what_lets_it_go_on(stopped: Daemon) -> None:
    with pytest.raises(BrokerNotAvailableError) as caught:
        Connection("t", stopped.runtime, 0.1)
    said = str(caught.value)
    assert f"the supervisor of cluster 't' (pid {stopped.pid}) does not answer: it is stopped" in said
    assert f"`kill -CONT {stopped.pid}`" in said
    assert f"`shmlog up --name t --data-dir {stopped.data_dir}` then takes the cluster over" in said
    assert "running there" not in said


def test_a_request_that_a_stopped_supervisor_does_not_answer_says_so(daemon: Daemon) -> None:
    daemon.start()
    with closing(Connection("t", daemon.runtime)) as connection:
        stop(daemon)
        try:
            with pytest.raises(PollTimeoutError, match=f"TopicsDescribed was due.*pid {daemon.pid}.* it is stopped"):
                connection.request(DescribeTopics(0, None), TopicsDescribed, timeout_s=0.1)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)


def test_so_many_clients_wait_for_a_stopped_supervisor_that_the_kernel_takes_no_more_and_still_each_gets_an_error(
    stopped: Daemon,
) -> None:
    with pytest.raises(BlockingIOError):
        deque((stopped.channel() for _ in range(MANY)), maxlen=0)
    with pytest.raises(BrokerNotAvailableError, match="it is stopped"):
        Connection("t", stopped.runtime, 0.1)


def test_a_killed_supervisor_is_said_to_have_died_not_to_run(daemon: Daemon) -> None:
    daemon.start()
    daemon.kill()
    with pytest.raises(NoClusterError) as caught:
        Connection("t", daemon.runtime, 0.1)
    assert "the supervisor of cluster 't' died" in str(caught.value)
    assert f"`shmlog up --name t --data-dir {daemon.data_dir}` takes the cluster over, with all" in str(caught.value)
    assert "running there" not in str(caught.value)
    daemon.start()  # as it was told to do; what the dead one left is taken over and then closed


def test_a_supervisor_that_does_not_listen_yet_is_said_to_be_starting(daemon: Daemon) -> None:
    daemon.start()
    os.rename(daemon.runtime.control_socket, daemon.runtime.control_socket + ".away")
    with pytest.raises(BrokerNotAvailableError, match=rf"\(pid {daemon.pid}\) is starting or closing"):
        Connection("t", daemon.runtime, 0.1)
    os.rename(daemon.runtime.control_socket + ".away", daemon.runtime.control_socket)
