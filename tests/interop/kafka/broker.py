"""A real Kafka broker: one node, KRaft, from the same jars that judge our files."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

from shmlog.testing import wait_until
from tests.interop.kafka.java_classes import KafkaClasses

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
INDEX_BYTES = 65536
"""What the broker reserves for each index of a segment that it writes."""
SETTINGS = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{{controller_port}}
listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller_port}}
controller.listener.names=CONTROLLER
log.dirs={{data}}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
log.index.size.max.bytes={INDEX_BYTES}
log.cleaner.backoff.ms=100
log.cleaner.dedupe.buffer.size=4000000
log.initial.task.delay.ms=100
log.flush.start.offset.checkpoint.interval.ms=100
"""


class Broker:
    """Starts and stops over one data directory, as often as wanted."""

    def __init__(self, classes: KafkaClasses, directory: Path) -> None:
        """Formats the directory, which must not exist."""
        self.data = directory / "data"
        self._classes = classes
        self._log = directory / "broker.log"
        self._settings = directory / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        port, controller_port = _free_ports()
        self.address = f"127.0.0.1:{port}"
        self._settings.write_text(SETTINGS.format(port=port, controller_port=controller_port, data=self.data))
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        classes.run("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._settings), "--standalone")

    def start(self) -> None:
        """Returns when it takes connections."""
        with self._log.open("ab") as log:
            command = self._classes.command("kafka.Kafka", str(self._settings))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(self._answers, timeout_s=START_TIMEOUT_S)
        except TimeoutError:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        host, port = self.address.split(":")
        with closing(socket.socket()) as client:
            return client.connect_ex((host, int(port))) == 0

    def stop(self) -> None:
        """As an operator does: it closes its logs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_ports() -> tuple[int, int]:
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for bound in (one, other):
            bound.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
