"""One connection to the coordinator: of a member of a group, or of somebody who looks at groups."""

from __future__ import annotations

import contextlib
import os

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import Message
from shmlog.control.peer import peer_credentials, peer_pidfd
from shmlog.machines.group.records import NO_PARTITIONS, Partitions
from shmlog.machines.group.serials import Serials
from shmlog.memory.client_region import ClientRegion

Member = tuple[str, str]
"""Group and member id."""


class GroupSession:
    """Owns its channel and a pidfd of its peer."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.fd = channel.fileno()
        self.pid = peer_credentials(channel.endpoint).pid
        self.pidfd: int | None = None
        self.member: Member | None = None
        self.fenced = ""
        """Why its member is none any more; empty: it is one, or never was, or has left."""
        self.client_id = 0
        self.region: ClientRegion | None = None
        """Of its process: doorbell and commit cells."""
        self.seen_cells: dict[int, int] = {}
        """Offsets that were found in its cells last, by partition id; NEW_CELL where there is another cell since."""
        self.said: Partitions = NO_PARTITIONS
        """What its member has, as it said last."""
        self.serials = Serials(NO_PARTITIONS)
        """Of the assignments of its member."""

    def watch_process(self) -> int | None:
        """A pidfd that becomes readable when the peer dies, even while a child of its keeps the connection open."""
        if self.pidfd is None:
            self.pidfd = peer_pidfd(self.channel.endpoint)
        return self.pidfd

    # --- talking ------------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Also wakes the peer. One that has gone hears nothing: its end is noticed where it is looked for."""
        try:
            self.channel.send(message)
        except ChannelClosedError:
            return
        if self.region is not None and self.region.doorbell is not None:
            self.region.doorbell.ring()

    def flush(self) -> None:
        """Send what the peer had no room for."""
        if self.channel.has_unsent:
            with contextlib.suppress(ChannelClosedError):
                self.channel.flush()

    def close(self) -> None:
        self.channel.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
