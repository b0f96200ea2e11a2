"""A cluster's directories over several starts, without the rest of a supervisor."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shmlog.control.paths import RuntimePaths
from shmlog.machines.metadata import MetadataMachine
from shmlog.machines.metadata_records import MetadataRecord
from shmlog.supervisor import home
from shmlog.supervisor.directories import LogDirectories
from shmlog.supervisor.directory_opening import check_listed, open_directories
from shmlog.supervisor.directory_return import DirectoryReturn


class Starts:
    """A cluster that is started again and again; only its catalog and its directories last."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log: list[MetadataRecord] = []
        self.machine = MetadataMachine()
        self.copied: list[str] = []
        """Where the metadata log is copied to since the last directories came back."""
        self.back: list[str] = []
        """Ids of directories that came back."""
        self._held = ExitStack()

    def start(self, *disks: str) -> LogDirectories:
        """With these names as log.dirs."""
        self.end()
        place = home.enter(
            "c", RuntimePaths(str(self.place / "run")), str(self.place / "data"), directory_mode=0o700, group=None
        )
        self._held.callback(lambda: place.release(empty=True))
        self.machine = MetadataMachine(data_directory_id=place.directory_id)
        for record in self.log:
            self.machine.replay(record)
        listed = [str(self.place / disk) for disk in disks]
        check_listed(place.data_dir, listed)
        opened = open_directories(place, "c", listed, self.machine, None)
        self._held.callback(opened.release)
        self.commit(self.machine.register_directories(opened.found).records)
        self.directories = opened.directories
        identity: Any = SimpleNamespace(name="c", shm_group=None)
        rest: Any = SimpleNamespace(
            machine=self.machine,
            commit=self.commit,
            copy_also_to=self.copied.append,
            look_into=lambda _: None,
            tell=lambda: None,
            is_back=self.back.append,
        )
        self.returns = DirectoryReturn(opened, place, identity, catalog=rest, damage=rest, topics=rest)
        return opened.directories

    def commit(self, records: tuple[MetadataRecord, ...]) -> None:
        for record in records:
            self.machine.replay(record)
        self.log += records

    def create(self, name: str, partitions: int) -> None:
        """A topic, with a directory for each partition."""
        new = self.directories.for_new_replicas()
        self.commit(self.machine.create_topic(name, topic_id=name, partitions=partitions, directories=new).records)
        for number in range(partitions):
            os.makedirs(self.directories.log_directory(self.machine.partition(name, number)))

    def paths(self) -> list[str]:
        """Of all partitions, from where the cluster is."""
        return [os.path.relpath(self.directories.log_directory(one), self.place) for one in self.machine.partitions()]

    def offline(self) -> dict[str, str]:
        """Partitions that cannot run, and why."""
        found = {
            f"{one.topic.name}-{one.partition}": self.directories.missing(one) for one in self.machine.partitions()
        }
        return {name: why for name, why in found.items() if why}

    def end(self) -> None:
        self._held.close()


def properties(directory: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (directory / "meta.properties").read_text().splitlines())
