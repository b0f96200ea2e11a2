"""iceoryx2: publish and subscribe in shared memory, by polling or with an event for each record."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .peer import Peer, Receiver, Route, Sender

BUFFER_RECORDS = 4096
SERVICE = "shmlog/bench/versus"


@dataclass(frozen=True, slots=True)
class IceoryxRoute:
    """Where its files lie, so that it meets nobody else's."""

    directory: str
    size_bytes: int
    has_event: bool

    def sender(self) -> Sender:
        return IceoryxSender(self)

    def receiver(self) -> Receiver:
        return IceoryxReceiver(self)


class Ports:
    """A node with the two services, opened by whoever comes first."""

    def __init__(self, route: IceoryxRoute) -> None:
        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
        config = iceoryx2.config.default()
        config.global_cfg.root_path = iceoryx2.Path.new(route.directory)
        config.global_cfg.prefix = iceoryx2.FileName.new(f"iox2_{Path(route.directory).parent.name}_")
        builder = iceoryx2.NodeBuilder.new().config(config)
        self.node = builder.signal_handling_mode(iceoryx2.SignalHandlingMode.Disabled).create(iceoryx2.ServiceType.Ipc)
        name = iceoryx2.ServiceName.new(SERVICE)
        self.records = (
            self.node.service_builder(name)
            .publish_subscribe(payload_type(route.size_bytes))
            .subscriber_max_buffer_size(BUFFER_RECORDS)
            .enable_safe_overflow(False)
            .open_or_create()
        )
        self.events = self.node.service_builder(name).event().open_or_create() if route.has_event else None
        self.strategy = iceoryx2.BackpressureStrategy.RetryUntilDelivered


def payload_type(size_bytes: int) -> Any:
    """A structure of that many bytes: the library wants to know the type of what it carries."""
    return type("Payload", (ctypes.Structure,), {"_fields_": [("bytes", ctypes.c_uint8 * size_bytes)]})


class IceoryxSender:
    """Copies each payload into a loan of its own; no record is dropped, a full buffer makes the sender retry."""

    def __init__(self, route: IceoryxRoute) -> None:
        self._ports = Ports(route)
        self._publisher = self._ports.records.publisher_builder().backpressure_strategy(self._ports.strategy).create()
        self._notifier = self._ports.events.notifier_builder().create() if self._ports.events else None
        self._size_bytes = route.size_bytes

    def send(self, payloads: list[bytes]) -> None:
        loan, copy, size_bytes = self._publisher.loan_uninit, ctypes.memmove, self._size_bytes
        notify = self._notifier.notify if self._notifier else None
        for payload in payloads:
            sample = loan()
            copy(sample.payload_ptr, payload, size_bytes)
            sample.assume_init().send()
            if notify:
                notify()

    def close(self) -> None:
        self._publisher.delete()


class IceoryxReceiver:
    """Spins in receive(), or sleeps until the event."""

    def __init__(self, route: IceoryxRoute) -> None:
        self._ports = Ports(route)
        self._subscriber = self._ports.records.subscriber_builder().buffer_size(BUFFER_RECORDS).create()
        self._listener = self._ports.events.listener_builder().create() if self._ports.events else None
        self._size_bytes = route.size_bytes

    def receive(self, most: int) -> list[bytes]:
        got: list[bytes] = []
        receive, read, size_bytes = self._subscriber.receive, ctypes.string_at, self._size_bytes
        while len(got) < most:
            sample = receive()
            if sample is not None:
                got.append(read(sample.payload_ptr, size_bytes))
            elif got:
                break
            elif self._listener:
                self._listener.blocking_wait()
        return got

    def close(self) -> None:
        self._subscriber.delete()


def _start(has_event: bool, directory: Path, size_bytes: int) -> contextlib.AbstractContextManager[Route]:
    @contextlib.contextmanager
    def place() -> Iterator[Route]:
        root = directory / "iox2"
        root.mkdir()
        yield IceoryxRoute(str(root), size_bytes, has_event)

    return place()


SETTINGS = f"fixed-size payload, buffer of {BUFFER_RECORDS:,} records, nothing dropped"
LACKS = "log, replay, partitions, groups, idempotence, durability"

ICEORYX_POLLING = Peer(
    name="iceoryx2",
    title="iceoryx2, polling",
    settings=f"{SETTINGS}; the consumer never sleeps and takes a core",
    lacks=LACKS,
    start=lambda directory, size_bytes: _start(False, directory, size_bytes),
    library="iceoryx2",
    package="iceoryx2",
)
ICEORYX_EVENT = Peer(
    name="iceoryx2-event",
    title="iceoryx2, with event",
    settings=f"{SETTINGS}; an event for each record wakes the consumer",
    lacks=LACKS,
    start=lambda directory, size_bytes: _start(True, directory, size_bytes),
    library="iceoryx2",
    package="iceoryx2",
)
