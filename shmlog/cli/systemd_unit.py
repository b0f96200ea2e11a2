"""The systemd unit that `shmlog up --print-systemd-unit` prints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

UNIT = """\
# shmlog cluster "{name}". Install it:
#   {install}
[Unit]
Description=shmlog cluster {name}
After=local-fs.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
# SIGTERM to the supervisor drains, closes and ends every worker; whatever is left after the time-out is killed.
KillMode=mixed
TimeoutStopSec=60
Restart=on-failure
RestartSec=1
WatchdogSec=30
# one process per partition, and a thread or two in each
TasksMax=16384
LimitNOFILE=65536
# Clients share /dev/shm and the runtime directory in it, so neither may be private; RemoveIPC would delete the rings.
RemoveIPC=no
NoNewPrivileges=yes

[Install]
WantedBy={target}
"""


def systemd_unit(name: str, data_dir: str, log_dirs: Sequence[str], config: str | None, *, system: bool) -> str:
    """A unit for the system manager (root), or for a user's own."""
    command = [sys.executable, "-P", "-m", "shmlog.cli.main", "up", "--name", name, "--data-dir", data_dir]
    for log_dir in log_dirs:
        command += ["--log-dir", log_dir]
    if config is not None:
        command += ["--config", config]
    file = f"shmlog-{name}.service"
    if system:
        install = (
            f"shmlog up --name {name} --print-systemd-unit > /etc/systemd/system/{file}"
            f" && systemctl enable --now {file}"
        )
        target = "multi-user.target"
    else:
        install = (
            f"shmlog up --name {name} --print-systemd-unit > ~/.config/systemd/user/{file}"
            f" && systemctl --user enable --now {file} && loginctl enable-linger"
        )
        target = "default.target"
    return UNIT.format(name=name, install=install, command=_quote(command), target=target)


def _quote(command: list[str]) -> str:
    """An ExecStart line; % is doubled because systemd expands it."""
    return " ".join(shlex.quote(part).replace("%", "%%") for part in command)
