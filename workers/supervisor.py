"""The supervisor's process: start the zygote, parse, serve, exit code.

    python -P -m shmlog.workers.supervisor [--name N] [--data-dir D] [--log-dir D]... [--config FILE]
                                           [--embedded FD [--host PIDFD] | --standbys COUNT [--standby NUMBER]]

Ready is said to $NOTIFY_SOCKET as systemd expects it (READY=1). A start that fails says why in its last line on stderr,
beginning with "error: ", and exits with 1. SIGTERM and SIGINT drain and close everything, then it exits with 0. With
--standby it first waits until the supervisor of its cluster has died; SIGTERM ends it until then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from shmlog.supervisor.zygote_process import OWNER_MODULE, ZygoteProcess, start_zygote


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shmlog.workers.supervisor", description="The daemon behind `shmlog up`.")
    parser.add_argument("--name", help="default: $SHMLOG_CLUSTER, else default")
    parser.add_argument("--data-dir", help="default: $SHMLOG_DATA_DIR, else as documented")
    parser.add_argument(
        "--log-dir", action="append", default=[], help="may be repeated; default: log.dirs, else data.dir"
    )
    parser.add_argument("--runtime-dir", help="base directory, instead of $SHMLOG_RUNTIME_DIR")
    parser.add_argument("--config", help="TOML file with [cluster] and [topic-defaults]")
    parser.add_argument("--embedded", type=int, metavar="FD", help="end when this pipe reaches its end of file")
    parser.add_argument("--host", type=int, metavar="PIDFD", help="end when this process does")
    parser.add_argument(
        "--standbys", type=int, default=0, help="how many further supervisors are to wait for our death"
    )
    parser.add_argument("--standby", type=int, metavar="NUMBER", help="be one of them")
    parser.add_argument("--owner-module", default=OWNER_MODULE, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.embedded is not None and given.standbys:
        parser.error("an embedded cluster ends with the process that started it: it has no --standbys")
    return given


def serve(given: argparse.Namespace, arguments: list[str], zygote: ZygoteProcess) -> None:
    """Be the supervisor until told to stop, and a standby before that; `arguments` are what a standby is run with.

    Raises ShmlogError for what keeps the cluster from running.
    """
    # imported only now: the zygote imports at the same time
    from shmlog.control.config_file import load_config
    from shmlog.control.paths import cluster_name, data_directory, log_directories, runtime_paths
    from shmlog.settings import ClusterConfig
    from shmlog.supervisor.standby import Standby
    from shmlog.supervisor.standbys import StandbyPlan
    from shmlog.supervisor.supervisor import Options, Supervisor

    config = ClusterConfig.from_mapping({}) if given.config is None else load_config(given.config)
    name = cluster_name(given.name)
    runtime = runtime_paths(name, given.runtime_dir)
    lock = None
    if given.standby is not None:
        lock = Standby(runtime, given.standby, config.supervisor_unresponsive_ms).wait()
        if lock is None:
            return
    Supervisor(
        Options(
            name=name,
            runtime=runtime,
            data_dir=data_directory(name, given.data_dir, config.data_dir),
            log_dirs=log_directories(given.log_dir, config.log_dirs),
            config=config,
            zygote=zygote,
            lifetime_fd=given.embedded,
            host_pidfd=given.host,
            owner_module=given.owner_module,
            standbys=StandbyPlan(given.standbys, arguments),
            runtime_lock=lock,
        )
    ).run()


def _without_number(arguments: list[str]) -> list[str]:
    """Which standby a process is, it is told as the last of its arguments."""
    return arguments[: arguments.index("--standby")] if "--standby" in arguments else arguments


def main(arguments: list[str]) -> int:
    given = parse(arguments)
    zygote = start_zygote(given.owner_module)

    import logging

    from shmlog.errors import ShmlogError
    from shmlog.native.mapping import outlive_cut_regions

    outlive_cut_regions()
    embedded = given.embedded is not None
    logging.raiseExceptions = False  # a reader of our stderr that went away must not stop us
    logging.basicConfig(
        level=logging.WARNING if embedded else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    if embedded:
        with contextlib.suppress(PermissionError):  # it leads a session already
            os.setsid()  # Ctrl-C in the host's terminal is not for us
    try:
        serve(given, _without_number(arguments), zygote)
    except ShmlogError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
