"""The parent's side of one peer: its server, and the two processes at its ends."""

from __future__ import annotations

import contextlib
import time
from array import array
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from shmlog.errors import ShmlogError

from .peers.peer import Peer, Route
from .versus_worker import ORDER_TIMEOUT_S, Burst, Done, Paced, work

LEAD_NS = 20_000_000
STOP_TIMEOUT_S = 5.0
SENDER, RECEIVER = "sender", "receiver"


class PeerFailedError(ShmlogError):
    """A peer did not do what it was asked to."""

    name = "PEER_FAILED"


@dataclass(frozen=True, slots=True)
class BurstResult:
    """Of one round: records per second counted at the consumer, CPU time of both ends per record."""

    records_per_second: float
    producer_ns: float
    consumer_ns: float


class Pair:
    """A producer and a consumer that are ready. Whatever fails raises PeerFailedError and ends both."""

    def __init__(self, peer: Peer, directory: Path, size_bytes: int) -> None:
        self.peer = peer
        self.size_bytes = size_bytes
        self._stack = contextlib.ExitStack()
        self._processes: dict[str, BaseProcess] = {}
        self._orders: dict[str, Connection] = {}
        context = get_context("spawn")
        try:
            route = self._enter(directory)
            for role in (RECEIVER, SENDER):
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(route, role, theirs), name=f"{peer.name} {role}")
                process.start()
                theirs.close()
                self._processes[role], self._orders[role] = process, ours
            for role in (RECEIVER, SENDER):
                self._hear(role)
        except BaseException:
            self.stop()
            raise

    def _enter(self, directory: Path) -> Route:
        try:
            return self._stack.enter_context(self.peer.start(directory, self.size_bytes))
        except Exception as error:  # whatever a peer's library raises is that peer's failure
            raise PeerFailedError(f"{self.peer.title}: {type(error).__name__}: {error}") from error

    def burst(self, records: int) -> BurstResult:
        """Send `records` as fast as it goes."""
        order = Burst(records, self.size_bytes)
        self._orders[RECEIVER].send(order)
        self._orders[SENDER].send(order)
        sent, received = self._done(SENDER), self._done(RECEIVER)
        seconds = (received.ended_ns - sent.began_ns) / 1e9
        return BurstResult(records / seconds, sent.cpu_ns / records, received.cpu_ns / records)

    def paced(self, records: int, per_second: float) -> array[int]:
        """Send `records` at a steady rate; latencies in ns from the intended start of each, in order."""
        order = Paced(records, self.size_bytes, per_second, time.monotonic_ns() + LEAD_NS)
        self._orders[RECEIVER].send(order)
        self._orders[SENDER].send(order)
        self._done(SENDER)
        latencies = self._done(RECEIVER).latencies_ns
        assert latencies is not None
        return latencies

    def stop(self) -> None:
        """Let both processes leave, kill those that stay, stop the server."""
        for orders in self._orders.values():
            with contextlib.suppress(OSError):
                orders.send(None)
        for process in self._processes.values():
            process.join(STOP_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()
        for orders in self._orders.values():
            orders.close()
        self._stack.close()

    def _done(self, role: str) -> Done:
        done = self._hear(role)
        assert isinstance(done, Done)
        return done

    def _hear(self, role: str) -> object:
        orders = self._orders[role]
        try:
            if not orders.poll(ORDER_TIMEOUT_S):
                raise PeerFailedError(f"{self.peer.title}: its {role} said nothing for {ORDER_TIMEOUT_S} s")
            heard = orders.recv()
        except EOFError:
            raise PeerFailedError(f"{self.peer.title}: its {role} process ended without a word") from None
        if isinstance(heard, Exception):
            raise PeerFailedError(f"{self.peer.title}: {heard}")
        return heard
