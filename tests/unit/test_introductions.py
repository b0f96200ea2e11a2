"""Whom owners ring after their supervisor was replaced: clients that have yet to come back, and none that are dead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from shmlog.control.messages import DetachClient, OwnerReady
from shmlog.supervisor.clients import Client
from shmlog.supervisor.introductions import Introductions

READY = OwnerReady(3, 7, 1, 4096, 64, 0, 0, [], "", False)


class Returned:
    """An owner that rings these clients, and what it is told of them."""

    def __init__(self, *clients: Client) -> None:
        self.known = {client.client_id: client for client in clients}
        self.owner = SimpleNamespace(partition_id=3, clients={1, 2})
        self.sent: list[object] = []
        owners: Any = SimpleNamespace(
            watchers=[], running=lambda _: self.owner, send=lambda _, order: self.sent.append(order)
        )
        registered: Any = SimpleNamespace(get=self.known.get, all=lambda: list(self.known.values()))
        unused: Any = None
        self.introductions = Introductions(unused, owners, registered)


def client(client_id: int, *, attached: bool = False, gone: bool = False) -> Client:
    return Client(client_id, 1, "region", attached=attached, gone=gone)


def test_an_owner_that_came_back_is_told_which_of_its_clients_are_not_there_any_more() -> None:
    returned = Returned(client(2))
    returned.introductions.owner_ready(READY)
    assert returned.sent == [DetachClient(1)]
    assert returned.owner.clients == {2}


def test_a_client_that_has_not_come_back_yet_is_rung_though_its_lane_is_closed_meanwhile() -> None:
    waiting = client(1)
    returned = Returned(waiting, client(2))
    returned.introductions.part(waiting, 3)
    assert returned.sent == []
    waiting.attached = True  # and it reads something else now
    returned.introductions.part(waiting, 3)
    assert returned.sent == [DetachClient(1)]


def test_a_client_that_dies_before_it_has_come_back_is_rung_no_more() -> None:
    dead = client(1, gone=True)
    returned = Returned(dead, client(2))
    returned.introductions.part(dead, 3)
    assert returned.sent == [DetachClient(1)]
