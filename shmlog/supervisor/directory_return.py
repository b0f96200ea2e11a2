"""Log directories that were missing when the cluster started, and come back while it runs."""

from __future__ import annotations

import logging
import os

from shmlog.control import data_directory
from shmlog.errors import DiskFullError, ForeignVersionError, StartError
from shmlog.supervisor.damage import DamageWatch
from shmlog.supervisor.directories import LogDirectory
from shmlog.supervisor.directory_opening import KIND, OpenDirectories
from shmlog.supervisor.home import Home
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.meta_properties import directory_id_of, identify_log_directory
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.topics import Topics

log = logging.getLogger(__name__)


class DirectoryReturn:
    """Looks for them where one that log.dirs names is missing. They may have changed places: it is the id that counts.

    One that log.dirs does not name is not looked for, and one that another process has is not taken.
    """

    def __init__(
        self,
        opened: OpenDirectories,
        home: Home,
        identity: ClusterIdentity,
        catalog: Catalog,
        damage: DamageWatch,
        topics: Topics,
    ) -> None:
        self._opened = opened
        self._home = home
        self._name = identity.name
        self._group = identity.shm_group
        self._catalog = catalog
        self._damage = damage
        self._topics = topics
        self._said: dict[str, str] = {}
        self._paths = list(dict.fromkeys(one.path for one in opened.directories.all() if one.error and one.takes_new))

    def look(self) -> list[LogDirectory]:
        """Those that have come back since; they are locked, and count as there from now on."""
        missing = {one.directory_id for one in self._opened.directories.all() if one.error}
        back: list[LogDirectory] = []
        for path in list(self._paths):
            try:
                directory_id = directory_id_of(path)
                if directory_id is None or directory_id not in missing:
                    continue
                self._take(path)
            except (OSError, ForeignVersionError):  # not yet
                continue
            except StartError as error:
                if self._said.get(path) != str(error):
                    self._said[path] = str(error)
                    log.error("%s", error)
                continue
            self._paths.remove(path)
            back.append(LogDirectory(directory_id, path))
            self._go_on_with(back[-1])
        return back

    def _go_on_with(self, one: LogDirectory) -> None:
        """What waits for it there finds it by itself; the rest is done here, as at a start."""
        log.info("the log directory %s (directory.id %s) is there again", one.path, one.directory_id)
        self._opened.directories.came_back(one)
        self._opened.found[one.directory_id] = one.path
        self._catalog.copy_also_to(one.path)
        self._damage.look_into(one.path)
        self._damage.tell()
        try:
            self._catalog.commit(self._catalog.machine.register_directories(self._opened.found).records)
            self._topics.is_back(one.directory_id)
        except DiskFullError as error:
            log.warning("what has to be done about %s waits for the next start: %s", one.path, error)

    def _take(self, path: str) -> None:
        lock = data_directory.lock(path, KIND)
        try:
            lock.write(f"{os.getpid()}\n{self._name}\n")
            os.listdir(path)
            identify_log_directory(path, self._home.cluster_id, self._group)
        except BaseException:
            lock.release(remove=False)
            raise
        self._opened.hold(lock)
