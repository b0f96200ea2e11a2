"""A worker's end of its channel: what an orphan does until there is another supervisor, and from then on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import Closed, DetachClient, LogRewritten, Message
from shmlog.partition import supervisor_link
from shmlog.partition.supervisor_link import SupervisorLink

HELLO = LogRewritten("hello")


class Meeting:
    """A link whose supervisor dies at once, and a place where another one may listen."""

    def __init__(self, place: Path) -> None:
        self.path = str(place / "workers.sock")
        self.obeyed: list[Message] = []
        self.introduction: Message | None = HELLO
        first, end = Channel.pair()
        self.link = SupervisorLink(
            Channel(end), self.obeyed.append, meeting_place=self.path, introduce=lambda: self.introduction
        )
        first.close()
        self.link.look()
        self.listening: socket.socket | None = None

    def listen(self) -> None:
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.listening.bind(self.path)
        self.listening.listen(1)

    def accept(self) -> Channel:
        assert self.listening is not None
        return Channel(self.listening.accept()[0])

    def close(self) -> None:
        self.link.channel.close()
        if self.listening is not None:
            self.listening.close()


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    monkeypatch.setattr(supervisor_link, "_RETURN_PAUSE_NS", 0)
    made = Meeting(tmp_path)
    yield made
    made.close()


def test_an_orphan_stays_one_while_nobody_listens(meeting: Meeting) -> None:
    assert meeting.link.is_orphan
    assert meeting.link.look() == 0
    assert meeting.link.is_orphan


def test_an_orphan_introduces_itself_to_who_listens_and_obeys_from_then_on(meeting: Meeting) -> None:
    meeting.listen()
    meeting.link.look()
    assert not meeting.link.is_orphan
    assert meeting.link.grace_ends_ns is None
    supervisor = meeting.accept()
    assert supervisor.receive(1.0) == HELLO
    supervisor.send(DetachClient(7))
    assert meeting.link.look() == 1
    assert meeting.obeyed == [DetachClient(7)]
    meeting.link.report(Closed(3))
    assert supervisor.receive(1.0) == Closed(3)
    supervisor.close()


def test_an_orphan_with_nothing_to_go_on_with_is_left_alone(meeting: Meeting) -> None:
    meeting.listen()
    meeting.introduction = None
    meeting.link.look()
    assert meeting.link.is_orphan
    with pytest.raises(BlockingIOError):
        meeting.accept()


def test_an_orphan_does_not_ask_again_and_again_who_is_there(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_link, "_RETURN_PAUSE_NS", 1 << 62)
    meeting.link.look()
    meeting.listen()
    meeting.link.look()
    assert meeting.link.is_orphan
