"""What a client holds while it is registered: its life lock, and its client region mapped."""

from __future__ import annotations

import os
from contextlib import suppress

from shmlog.control import life
from shmlog.control.messages import Welcome
from shmlog.control.paths import RuntimePaths
from shmlog.memory import region
from shmlog.memory.client_region import ClientRegion


class Registration:
    """The life lock proves to the kernel, and so to every supervisor, that this process lives.

    Raises FileNotFoundError from the constructor if the supervisor that granted it is gone with its directory.
    """

    def __init__(self, welcome: Welcome, paths: RuntimePaths) -> None:
        self._identity = region.identity(welcome.client_region)
        self.region = ClientRegion.open(welcome.client_region)
        try:
            self._life = life.LifeLock.acquire(paths.life(welcome.client_id))
        except BaseException:
            self.region.close()
            raise

    def is_of(self, welcome: Welcome, paths: RuntimePaths) -> bool:
        """Whether this is what `welcome` grants: the same region and the same life file, not namesakes of them."""
        if region.identity(welcome.client_region) != self._identity:
            return False
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._life.fileno()), os.stat(paths.life(welcome.client_id)))
        return False

    def replace(self) -> None:
        """Another registration takes over. The region stays mapped for who still waits on its doorbell; the life file
        may be a namesake by now, so it is left alone."""
        self._life.release(remove=False)

    def close(self) -> None:
        """This process leaves the cluster."""
        self._life.release()
        self.region.close()

    def abandon(self) -> None:
        """In a forked child: close our copy of the descriptor, which leaves the parent's lock alone."""
        if self._life.fileno() >= 0:
            os.close(self._life.fileno())
