"""The two ways to a cluster: start one that belongs to this process, or connect to one that runs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from shmlog import arguments
from shmlog.client.api import Cluster
from shmlog.client.cluster import NativeCluster
from shmlog.client.connection import Connection
from shmlog.client.embedded import Config, EmbeddedSupervisor
from shmlog.control.paths import cluster_name, runtime_paths


def connect(name: str | None = None, *, timeout: float = 5.0) -> Cluster:
    """Connect to the running cluster `name`; without a name to $SHMLOG_CLUSTER, or to "default".

    `timeout` seconds are for a cluster that is just starting. Raises NoClusterError, which says how to start one, at
    once if none is, and BrokerNotAvailableError if its supervisor is there and does not answer in that time.
    """
    chosen = _checked_name(name)
    wait_s = arguments.seconds(timeout)
    if wait_s is None:
        raise arguments.refusal("timeout", "a number of seconds", timeout)
    return NativeCluster(Connection(chosen, runtime_paths(chosen), wait_s))


def start(data_dir: str | os.PathLike[str] | None = None, *, name: str | None = None, config: Config = None) -> Cluster:
    """Start a cluster that lives as long as what this returns, or as this process if that ends first.

    However this process ends, SIGKILL included, the cluster drains, closes and leaves nothing in shared memory. Other
    processes join with `shmlog.connect(cluster.name)`; the name is made up unless you give one. Records stay in
    `data_dir`, or in the directories that `log.dirs` names, for the next start with the same `data_dir`. Without it
    they live where $SHMLOG_DATA_DIR, `config` or the given name put them (see `shmlog up --help`), and without any of
    these in a temporary directory that goes with the cluster.

    `config` is the path of a TOML file, or a mapping of cluster settings and topic defaults by their Kafka names.
    Raises StartError, ClusterAlreadyRunningError, DataDirectoryInUseError, InvalidConfigError with the reason.
    """
    chosen = _checked_name(name if name is not None else f"embedded-{os.getpid()}-{secrets.token_hex(3)}")
    if data_dir is not None and not isinstance(data_dir, (str, os.PathLike)):
        raise arguments.refusal("data_dir", "a path", data_dir)
    if config is not None and not isinstance(config, (str, os.PathLike, Mapping)):
        raise arguments.refusal("config", "the path of a TOML file or a mapping of settings", config)
    directory = os.fspath(data_dir) if data_dir is not None else None
    placed = directory is not None or name is not None or config is not None or "SHMLOG_DATA_DIR" in os.environ
    supervisor = EmbeddedSupervisor(chosen, directory, config, temporary=not placed)
    try:
        return NativeCluster(Connection(chosen, runtime_paths(chosen)), supervisor)
    except BaseException:
        supervisor.end()
        raise


def _checked_name(name: str | None) -> str:
    return cluster_name(None if name is None else arguments.text(name, "name"))
