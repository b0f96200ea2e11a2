"""`shmlog logs`: what a detached cluster has said."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import BinaryIO

import click

from shmlog.cli.attach import cluster_option
from shmlog.cli.cluster_paths import ClusterPlace, expect_cluster, find_cluster
from shmlog.cli.output import require_reader
from shmlog.errors import NoClusterError

LOOK_EVERY_S = 0.2
CHUNK_BYTES = 1 << 16


@click.command(
    epilog="""\b
Examples:
  shmlog logs
  shmlog logs -f --lines 5
"""
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--lines", type=click.IntRange(min=0), default=50, show_default=True, help="So many of the last lines.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Of a cluster that does not run any more.")
@cluster_option
def logs(follow: bool, lines: int, data_dir: str | None, name: str | None) -> None:
    """Show the log of a cluster that was started with `shmlog up --detach`."""
    place = find_cluster(name) if data_dir is None else expect_cluster(name, data_dir=data_dir)
    log = _open(place)
    with log:
        for line in deque(log, maxlen=lines):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if follow:
            _follow(log, place.log_file)


def _open(place: ClusterPlace) -> BinaryIO:
    try:
        return open(place.log_file, "rb")
    except FileNotFoundError:
        running = "it runs in the foreground of some terminal or under systemd (journalctl), which has its log"
        gone = "start it with `shmlog up --detach`"
        raise NoClusterError(
            f"there is no log of cluster {place.name!r} at {place.log_file}: {running if place.pid else gone}"
        ) from None


def _follow(log: BinaryIO, path: str) -> None:
    """Print what is appended; when the file is put aside, go on with its successor."""
    while True:
        chunk = log.read(CHUNK_BYTES)
        if chunk:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            continue
        try:
            if os.stat(path).st_ino != os.fstat(log.fileno()).st_ino:
                with open(path, "rb") as successor:
                    return _follow(successor, path)
        except FileNotFoundError:
            pass
        require_reader()
        time.sleep(LOOK_EVERY_S)
