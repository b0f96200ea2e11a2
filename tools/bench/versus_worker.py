"""One end of one peer in a process of its own: sends or receives a round when the parent says so."""

from __future__ import annotations

import signal
import time
from array import array
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from shmlog.testing.pacing import STAMP, Pace, read_stamp

from .peers.peer import Receiver, Route, Sender
from .throughput_worker import SEQUENCE_BYTES, make_payloads

CHUNK_RECORDS = 1000
ORDER_TIMEOUT_S = 60
"""A worker that is busy with one order for longer ends itself, so that it outlives no parent."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Send, or receive, this many records as fast as it goes."""

    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Paced:
    """Send one record after the other at a steady rate, or receive them and note when each came."""

    records: int
    size_bytes: int
    per_second: float
    first_ns: int


@dataclass(frozen=True, slots=True)
class Done:
    """When it began and ended on the monotonic clock, and what it cost this process."""

    began_ns: int
    ended_ns: int
    cpu_ns: int
    latencies_ns: array[int] | None = None


def work(route: Route, role: str, orders: Connection) -> None:
    """Open one end, say so, and carry out orders until there are no more. What goes wrong is said, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.alarm(ORDER_TIMEOUT_S)
    try:
        end: Any = route.sender() if role == "sender" else route.receiver()
        orders.send("ready")
        signal.alarm(0)
        while (order := orders.recv()) is not None:
            signal.alarm(ORDER_TIMEOUT_S)
            if role == "sender":
                orders.send(_send_burst(end, order) if isinstance(order, Burst) else _send_paced(end, order))
            else:
                orders.send(_receive_burst(end, order) if isinstance(order, Burst) else _receive_paced(end, order))
            signal.alarm(0)
        signal.alarm(ORDER_TIMEOUT_S)
        end.close()
    except EOFError:
        return  # the parent is gone
    except Exception as error:  # noqa: BLE001  # whatever a peer's library raises is reported as that peer's failure
        orders.send(error if isinstance(error, OSError) else RuntimeError(f"{type(error).__name__}: {error}"))


def _send_burst(sender: Sender, order: Burst) -> Done:
    payloads = make_payloads(0, order.records, order.size_bytes)
    began_ns, cpu_before_ns = time.monotonic_ns(), time.process_time_ns()
    sender.send(payloads)
    return Done(began_ns, time.monotonic_ns(), time.process_time_ns() - cpu_before_ns)


def _receive_burst(receiver: Receiver, order: Burst) -> Done:
    seen, began_ns, cpu_before_ns = 0, time.monotonic_ns(), time.process_time_ns()
    receive = receiver.receive
    while seen < order.records:
        payloads = receive(min(CHUNK_RECORDS, order.records - seen))
        _require(payloads[0], seen, order.size_bytes)
        seen += len(payloads)
        _require(payloads[-1], seen - 1, order.size_bytes)
    return Done(began_ns, time.monotonic_ns(), time.process_time_ns() - cpu_before_ns)


def _require(payload: bytes, sequence: int, size_bytes: int) -> None:
    """Every chunk begins and ends with the record that belongs there, so none between was lost or doubled."""
    found = int.from_bytes(payload[:SEQUENCE_BYTES], "little")
    if found != sequence or len(payload) != size_bytes:
        raise ValueError(f"got record {found} with {len(payload)} bytes instead of record {sequence}")


def _send_paced(sender: Sender, order: Paced) -> Done:
    padding = b"." * (order.size_bytes - STAMP.size)
    cpu_before_ns = time.process_time_ns()
    starts = Pace(order.per_second, 1.0).starts(order.first_ns, order.records)
    for sequence, intended_ns in enumerate(starts):
        sender.send([STAMP.pack(sequence, intended_ns) + padding])
    return Done(order.first_ns, time.monotonic_ns(), time.process_time_ns() - cpu_before_ns)


def _receive_paced(receiver: Receiver, order: Paced) -> Done:
    latencies = array("q")
    cpu_before_ns = time.process_time_ns()
    while len(latencies) < order.records:
        (payload,) = receiver.receive(1)
        now_ns = time.monotonic_ns()
        sequence, intended_ns = read_stamp(payload)
        if sequence != len(latencies):
            raise ValueError(f"got record {sequence} instead of record {len(latencies)}")
        latencies.append(now_ns - intended_ns)
    return Done(order.first_ns, time.monotonic_ns(), time.process_time_ns() - cpu_before_ns, latencies)
