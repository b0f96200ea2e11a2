"""The supervisor's process: parse, start, serve, exit code.

    python -P -m shmlog.workers.supervisor [--name N] [--data-dir D] [--config FILE] [--embedded FD]

Ready is said to $NOTIFY_SOCKET as systemd expects it (READY=1). A start that fails says why in its last line on stderr,
beginning with "error: ", and exits with 1. SIGTERM and SIGINT drain and close everything, then it exits with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys

from shmlog.control.paths import cluster_name, data_directory, runtime_paths
from shmlog.errors import ShmlogError
from shmlog.settings import ClusterConfig
from shmlog.supervisor.supervisor import OWNER_MODULE, Options, Supervisor


def options_from(arguments: list[str]) -> tuple[Options, bool]:
    """The options, and whether this is an embedded cluster. Raises ShmlogError for settings that cannot be."""
    parser = argparse.ArgumentParser(prog="shmlog.workers.supervisor")
    parser.add_argument("--name")
    parser.add_argument("--data-dir")
    parser.add_argument("--runtime-dir", help="base directory, instead of $SHMLOG_RUNTIME_DIR")
    parser.add_argument("--config", help="TOML file with [cluster] and [topic-defaults]")
    parser.add_argument("--embedded", type=int, metavar="FD", help="end when this pipe reaches its end of file")
    parser.add_argument("--owner-module", default=OWNER_MODULE, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.config is not None:
        from shmlog.control.config_file import load_config

        config = load_config(given.config)
    else:
        config = ClusterConfig.from_mapping({})
    name = cluster_name(given.name)
    options = Options(
        name=name,
        runtime=runtime_paths(name, given.runtime_dir),
        data_dir=data_directory(name, given.data_dir, config.data_dir),
        config=config,
        lifetime_fd=given.embedded,
        owner_module=given.owner_module,
    )
    return options, given.embedded is not None


def main(arguments: list[str]) -> int:
    logging.raiseExceptions = False  # a reader of our stderr that went away must not stop us
    try:
        options, embedded = options_from(arguments)
        logging.basicConfig(
            level=logging.WARNING if embedded else logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
        )
        if embedded:
            with contextlib.suppress(PermissionError):  # it leads a session already
                os.setsid()  # Ctrl-C in the host's terminal is not for us
        Supervisor(options).run()
    except ShmlogError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
