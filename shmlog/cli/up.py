"""`shmlog up`: start a cluster, in the foreground or detached."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO

import click

from shmlog.cli.cluster_paths import ClusterPlace, find_cluster
from shmlog.client.readiness import ReadinessSocket
from shmlog.control import data_directory, paths
from shmlog.control.config_file import load_config
from shmlog.control.last_start import command_after, read_last_start, up_command
from shmlog.errors import ClusterAlreadyRunningError, StartError
from shmlog.limits import STANDBYS_MAX
from shmlog.log import damage
from shmlog.settings import ClusterConfig

READY_TIMEOUT_S = 60.0
LOG_BYTES_MAX = 10 * 1024 * 1024
"""A larger log is put aside as supervisor.log.1 when the cluster is started."""


@click.command(
    epilog="""\b
Examples:
  shmlog up                                  in this terminal, until Ctrl-C
  shmlog up --detach                         in the background; see shmlog logs, shmlog down
  shmlog up --name test --data-dir ./data --config shmlog.toml
  shmlog up --log-dir /disk1/shmlog --log-dir /disk2/shmlog
  shmlog up --detach --standbys 1            another supervisor takes over when the first one dies
  shmlog up --print-systemd-unit > ~/.config/systemd/user/shmlog-default.service

\b
Defaults, the same in a shell and under cron, sudo and systemd:
  name       --name, $SHMLOG_CLUSTER, "default"
  data       --data-dir, $SHMLOG_DATA_DIR, the configuration file,
             /var/lib/shmlog/NAME (root), ~/.local/share/shmlog/NAME (others)
  logs       --log-dir, log.dirs in the configuration file, the data directory
  socket     $SHMLOG_RUNTIME_DIR/NAME, /dev/shm/shmlog-UID/NAME
"""
)
@click.option("-n", "--name", metavar="NAME", help="The cluster. Default: $SHMLOG_CLUSTER, else 'default'.")
@click.option("-d", "--data-dir", type=click.Path(), help="Where topics are stored.")
@click.option(
    "--log-dir", "log_dirs", type=click.Path(), multiple=True, help="Where partitions' logs go; may be repeated."
)
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="A TOML file: [cluster] and [topic-defaults].")
@click.option("--detach", is_flag=True, help="Return as soon as the cluster is ready; it goes on in the background.")
@click.option(
    "--standbys",
    type=click.IntRange(0, STANDBYS_MAX),
    default=0,
    help="Supervisors that wait to take over when the first one dies or hangs.  [default: 0]",
)
@click.option("--print-systemd-unit", is_flag=True, help="Print a unit (notify, watchdog) for this cluster, and stop.")
def up(
    name: str | None,
    data_dir: str | None,
    log_dirs: tuple[str, ...],
    config: str | None,
    detach: bool,
    standbys: int,
    print_systemd_unit: bool,
) -> None:
    """Start a cluster.

    SIGTERM, Ctrl-C and `shmlog down` drain and close it cleanly. After a crash or a power loss the next start recovers
    what is on the disk, and says what of it was damaged.
    """
    config = os.path.abspath(config) if config is not None else None
    configured = ClusterConfig.from_mapping({}) if config is None else load_config(config)
    place = find_cluster(name, data_dir=data_dir, configured=configured.data_dir)
    log_dirs = paths.log_directories(log_dirs, configured.log_dirs)
    if print_systemd_unit:
        if standbys:
            raise click.UsageError(
                "a unit has no use for --standbys: systemd ends all of a service with its main process, and starts it"
                " again by itself; leave the option out"
            )
        from shmlog.cli.systemd_unit import systemd_unit

        click.echo(systemd_unit(place.name, place.data_dir, log_dirs, config, system=os.getuid() == 0), nl=False)
        return
    if place.pid is not None:
        raise ClusterAlreadyRunningError(
            f"cluster {place.name!r} is already running (pid {place.pid}, data in {place.data_dir});"
            f" stop it with `shmlog down --name {place.name}`, or give this one another --name"
        )
    if data_dir is None and not configured.data_dir and not os.environ.get("SHMLOG_DATA_DIR"):
        _require_same_place(place)
    command = supervisor_command(place, log_dirs, config)
    command += ["--standbys", str(standbys)] if standbys else []
    if detach:
        start_detached(place, log_dirs, command)
    else:
        os.execv(command[0], command)


def _require_same_place(place: ClusterPlace) -> None:
    """Raise StartError if the cluster died with its data elsewhere than the default leads to: it would be another one,
    and empty."""
    last = read_last_start(place.runtime.supervisor_lock)
    if last is not None and last.data_dir != place.data_dir:
        raise StartError(
            f"cluster {place.name!r} died with its data in {last.data_dir}, and the default is {place.data_dir}:"
            f" `{command_after(place.name, last)}` goes on with it,"
            f" `{up_command(place.name, place.data_dir)}` starts another one"
        )


def supervisor_command(place: ClusterPlace, log_dirs: Sequence[str], config: str | None) -> list[str]:
    """How the supervisor is run."""
    command = [sys.executable, "-P", "-m", "shmlog.workers.supervisor", "--name", place.name]
    command += ["--data-dir", place.data_dir]
    for log_dir in log_dirs:
        command += ["--log-dir", log_dir]
    return command + (["--config", config] if config is not None else [])


def start_detached(place: ClusterPlace, log_dirs: Sequence[str], command: list[str]) -> None:
    """Start in a session of its own, wait until it is ready, and say where it is. Raises StartError with its words."""
    began = time.monotonic()
    log, log_start = _open_log(place)
    ready = ReadinessSocket()
    try:
        with log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **ready.environment},
                start_new_session=True,
            )
        came_up = ready.wait(child, READY_TIMEOUT_S)
    finally:
        ready.close()
    if not came_up:
        raise StartError(
            _last_words(place.log_file, log_start) or f"the supervisor did not start; see {place.log_file}"
        )
    child.returncode = 0  # it lives on; nobody waits for it here
    click.echo(
        f"cluster {place.name!r} is up after {1000 * (time.monotonic() - began):.0f} ms:"
        f" pid {child.pid}, data in {place.data_dir}; {ready.status}"
    )
    for log_dir in {os.path.realpath(path): path for path in (*log_dirs, place.data_dir)}.values():
        if os.access(log_dir, os.R_OK | os.X_OK):  # of those that are not there `status` tells
            for topic, partition, directory, found in damage.find(log_dir):
                click.echo(f"damage: {damage.sentence(topic, partition, directory, found)}", err=True)


def _open_log(place: ClusterPlace) -> tuple[BinaryIO, int]:
    """The log to append to, and where the next lines begin. It belongs to who has the data directory: who will not get
    that must not write there. Raises StartError and DataDirectoryInUseError as the supervisor does."""
    data_directory.make(place.data_dir)
    try:
        data_directory.require_free(place.data_dir)
        log_start = _rotate(place.log_file)
        return open(place.log_file, "ab"), log_start
    except OSError as error:
        raise StartError(f"cannot write {error.filename}: {error.strerror}; {data_directory.OTHER}") from error


def _rotate(log_file: str) -> int:
    """Put a large log aside; returns where the next lines will begin."""
    try:
        size = os.stat(log_file).st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES_MAX:
        return size
    os.replace(log_file, log_file + ".1")
    return 0


def _last_words(log_file: str, start: int) -> str:
    """What the supervisor said last before it ended."""
    with open(log_file, "rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else ""
