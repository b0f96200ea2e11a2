"""An owner that owns nothing: it answers its supervisor, and misbehaves as its topic's name says.

It notes its spec's epoch and every order in `<log_dir>.orders`, one JSON object a line.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

import orjson

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.life import LifeLock
from shmlog.control.messages import (
    AttachClient,
    AttachLane,
    ClientAttached,
    Close,
    Closed,
    DetachLane,
    LaneAttached,
    LaneDetached,
    LaneHeld,
    Message,
    OwnerFailed,
    OwnerReady,
    OwnerSpec,
)
from shmlog.control.paths import RuntimePaths
from shmlog.memory import layout, names, region
from shmlog.memory.lane import LaneTerms


class FakeOwner:
    def __init__(self, spec: OwnerSpec, channel: Channel) -> None:
        self.spec = spec
        self.channel = channel
        self.does = spec.topic.partition(".")[0]

    def note(self, **what: object) -> None:
        with open(self.spec.log_dir + ".orders", "ab") as file:
            file.write(orjson.dumps(what) + b"\n")

    def run(self) -> int:
        self.note(kind="start", epoch=self.spec.leader_epoch, pid=os.getpid())
        if self.does == "crashes":
            return 1
        if self.does == "foreign":
            return self.fail("ForeignVersionError", "layout 9.9")
        if self.does == "refuses":
            return self.fail("StorageError", "the disk is full")
        if self.does == "stops" and self.spec.leader_epoch == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        os.makedirs(self.spec.log_dir, exist_ok=True)  # without it, the supervisor thinks soon that a disk is gone
        with suppress(FileExistsError):  # of the one before; without it, the supervisor thinks that it was removed
            region.create(names.control_page(self.spec.cid8, self.spec.partition_id), layout.CTL_SIZE)
        self.channel.send(
            OwnerReady(self.spec.partition_id, self.spec.leader_epoch, 1, 4096, 64, 0, 0, self.lanes(), "", False)
        )
        if self.does == "babbles":
            self.channel.endpoint.send(b"\xff" * 100)
        try:
            while True:
                message = self.channel.receive(10.0)
                if message is not None and not self.obey(message):
                    return 0
        except ChannelClosedError:
            if self.does == "remembers":
                signal.pause()  # an orphan, until somebody ends it
            return 0

    def fail(self, error: str, text: str) -> int:
        self.channel.send(OwnerFailed(error, text))
        return 1

    def lanes(self) -> list[LaneHeld]:
        """What a predecessor had in its lane table: here, what it noted."""
        if self.does != "remembers":
            return []
        found: dict[int, LaneTerms] = {}
        with open(self.spec.log_dir + ".orders", "rb") as file:
            for order in map(orjson.loads, file):
                if order["kind"] == "AttachLane":
                    found[order["lane_id"]] = LaneTerms(**order["terms"])
                if order["kind"] == "DetachLane":
                    found.pop(order["lane_id"], None)
        return [LaneHeld(lane_id, terms) for lane_id, terms in found.items()]

    def obey(self, message: Message) -> bool:
        self.note(kind=type(message).__name__, **{name: getattr(message, name) for name in message.__slots__})
        match message:
            case AttachClient():
                self.channel.send(ClientAttached(message.client_id))
            case AttachLane() if self.does != "deaf":
                self.channel.send(LaneAttached(message.lane_id))
            case DetachLane():
                self.channel.send(LaneDetached(message.lane_id, message.reason, 0))
            case Close():
                if self.does == "dies" and self.spec.leader_epoch == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.channel.send(Closed(0))
                return False
        return True


def main(spec: OwnerSpec, channel_fd: int) -> int:
    channel = Channel(socket.socket(fileno=channel_fd))
    life = LifeLock.acquire(RuntimePaths(spec.runtime_dir).owner(spec.partition_id))
    status = FakeOwner(spec, channel).run()
    channel.flush(1.0)
    life.release(remove=False)
    return status
