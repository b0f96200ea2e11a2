"""After every process of a cluster was killed, the next start and end leave nothing of it in shared memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from shmlog.control.messages import CreateTopic, TopicCreated
from shmlog.memory import region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon, Peer

pytestmark = pytest.mark.slow

CLIENT = """
import shmlog, sys
cluster = shmlog.connect("t")
with cluster.producer() as producer:
    producer.send("flights", b"x").result(20)
    print("sent", flush=True)
    sys.stdin.readline()
"""


def workers(daemon: Daemon, peer: Peer) -> list[int]:
    """All processes but the supervisor."""
    replicas = [one.pid for partition in peer.topic("flights").partitions for one in partition.replicas]
    return [daemon.describe().zygote_pid, *replicas]


def client_regions(tag: str) -> set[str]:
    return {name for name, _ in region.list_regions(tag) if re.fullmatch(rf"/shmlog\.{tag}\.c\d+", name)}


@pytest.mark.parametrize("client", ["lives", "is killed with all others"])
def test_nothing_is_left_of_a_cluster_that_was_killed_and_of_its_clients(
    real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.config = f'[cluster]\nlog.dirs = ["{real_daemon.directory}/a", "{real_daemon.directory}/b"]\n'
    real_daemon.start()
    peer = real_daemon.peer()
    tag = peer.welcome.cid8
    peer.ask(CreateTopic(0, "flights", 1, 2, {}), TopicCreated)
    command = [sys.executable, "-P", "-c", CLIENT]
    with killed_afterwards(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        (theirs,) = client_regions(tag) - {peer.welcome.client_region}
        victims = workers(real_daemon, peer)
        real_daemon.kill()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        peer.close()
        if client == "is killed with all others":
            process.kill()
            process.wait()
        real_daemon.start()
        if client == "lives":
            assert real_daemon.describe().zygote_pid not in victims
        else:
            wait_until(lambda: theirs not in client_regions(tag), timeout_s=20.0)
        assert peer.welcome.client_region not in client_regions(tag), "it has left meanwhile"
        assert real_daemon.stop() == 0
        assert region.list_regions(tag) == []
