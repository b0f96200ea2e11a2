"""The checks of `shmlog doctor`: each looks at one thing of this host and says what it found and what to do."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shmlog.cli.cluster_paths import NOT_YOURS_REMEDY, ClusterPlace, whose
from shmlog.cli.known_directories import known_directories
from shmlog.cli.output import count_of, human_bytes
from shmlog.control import life, paths
from shmlog.errors import InvalidRequestError, StartError
from shmlog.memory import region
from shmlog.supervisor.cgroup import memory_limit, task_limit

SHM_BYTES_COMFORTABLE = 256 * 1024 * 1024
SHM_BYTES_MIN = 48 * 1024 * 1024
DISK_BYTES_COMFORTABLE = 1024 * 1024 * 1024
FILES_COMFORTABLE = 4096
TASKS_COMFORTABLE = 1000
KERNEL_MIN = (5, 4)
LOGIND_FILES = ("/etc/systemd/logind.conf", "/etc/systemd/logind.conf.d", "/usr/lib/systemd/logind.conf.d")
FIRST_LOGIN_UID = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict` is "ok", "warn" or "fail"; `remedy` is empty where there is nothing to do."""

    subject: str
    verdict: str
    found: str
    remedy: str = ""


Findings = Iterator[Finding]


def check_kernel(place: ClusterPlace) -> Findings:
    """pidfds and what waits on them."""
    version = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if version < KERNEL_MIN:
        yield Finding("kernel", "fail", platform.release(), "shmlog needs Linux 5.4 or later (pidfd)")
    else:
        yield Finding("kernel", "ok", f"Linux {platform.release()} on {platform.machine()}, {os.cpu_count()} CPUs")


def check_shared_memory(place: ClusterPlace) -> Findings:
    """Size and room of /dev/shm."""
    usage = shutil.disk_usage(region.SHM_DIRECTORY)
    found = f"{human_bytes(usage.total)}, {human_bytes(usage.free)} free"
    larger = (
        f"enlarge it: mount -o remount,size=1G {region.SHM_DIRECTORY} (a line in /etc/fstab keeps it);"
        " docker run --shm-size=1g; Kubernetes: an emptyDir of medium Memory there"
    )
    if usage.free < SHM_BYTES_MIN:
        yield Finding(region.SHM_DIRECTORY, "fail", found, larger)
    elif usage.free < SHM_BYTES_COMFORTABLE:
        remedy = f"enough for a few partitions; for more, {larger}"
        yield Finding(region.SHM_DIRECTORY, "warn", found, remedy)
    else:
        yield Finding(region.SHM_DIRECTORY, "ok", found)
    if not os.access(region.SHM_DIRECTORY, os.W_OK):
        yield Finding(region.SHM_DIRECTORY, "fail", "not writable for you", f"chmod 1777 {region.SHM_DIRECTORY}")


def check_limits(place: ClusterPlace) -> Findings:
    """RLIMIT_NOFILE and RLIMIT_NPROC, hard limits: shmlog raises the soft ones itself."""
    for subject, limit, comfortable, unit in (
        ("open files (ulimit -Hn)", resource.RLIMIT_NOFILE, FILES_COMFORTABLE, "about 8 per partition and client"),
        ("processes (ulimit -Hu)", resource.RLIMIT_NPROC, TASKS_COMFORTABLE, "one per partition and a few more"),
    ):
        hard = resource.getrlimit(limit)[1]
        if hard == resource.RLIM_INFINITY or hard >= comfortable:
            yield Finding(subject, "ok", "unlimited" if hard == resource.RLIM_INFINITY else str(hard))
        else:
            remedy = f"{unit} are needed: raise it in /etc/security/limits.conf, or LimitNOFILE=, TasksMax= in the unit"
            yield Finding(subject, "warn", str(hard), remedy)


def check_file_size(place: ClusterPlace) -> Findings:
    """RLIMIT_FSIZE: a segment must fit."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if hard != resource.RLIM_INFINITY:
        remedy = "ulimit -f unlimited, or topics with a smaller segment.bytes"
        yield Finding("file size (ulimit -f)", "warn", human_bytes(hard), remedy)


def check_cgroup(place: ClusterPlace) -> Findings:
    """Memory and task limits of the control groups that this process is in."""
    memory, tasks = memory_limit(), task_limit()
    if memory is None:
        yield Finding("cgroup memory", "ok", "no limit")
    else:
        shm = shutil.disk_usage(region.SHM_DIRECTORY).total
        verdict = "warn" if memory < shm else "ok"
        remedy = (
            "shared memory counts against it, and beyond it the kernel kills instead of refusing: keep shm.budget.bytes"
            " well below"
        )
        yield Finding("cgroup memory", verdict, f"limit {human_bytes(memory)}", remedy if verdict == "warn" else "")
    if tasks is None or tasks >= TASKS_COMFORTABLE:
        yield Finding("cgroup tasks", "ok", "no limit" if tasks is None else f"pids.max {tasks}")
    else:
        remedy = "one process per partition: TasksMax= in the unit, docker run --pids-limit"
        yield Finding("cgroup tasks", "warn", f"pids.max {tasks}", remedy)


def check_remove_ipc(place: ClusterPlace) -> Findings:
    """logind deletes a login user's shared memory at logout, unless it is told not to."""
    user = pwd.getpwuid(os.getuid()).pw_name
    if not os.path.isdir("/run/systemd/seats"):
        yield Finding("RemoveIPC", "ok", "no systemd-logind on this host")
    elif os.getuid() < FIRST_LOGIN_UID:
        yield Finding("RemoveIPC", "ok", f"{user} is a system user, whose shared memory logind leaves alone")
    elif _remove_ipc_is_off():
        yield Finding("RemoveIPC", "ok", "off in logind.conf")
    elif os.path.exists(f"/var/lib/systemd/linger/{user}"):
        yield Finding("RemoveIPC", "ok", f"{user} lingers, so logging out removes nothing")
    else:
        remedy = (
            f"logging out removes {user}'s shared memory under a running cluster (the log on disk survives):"
            " RemoveIPC=no in /etc/systemd/logind.conf, or loginctl enable-linger, or a system unit"
        )
        yield Finding("RemoveIPC", "warn", "on (systemd's default)", remedy)


def check_runtime_directory(place: ClusterPlace) -> Findings:
    """Where the cluster's socket and locks are: ours, or open to a group that we are in."""
    directory = place.runtime.directory
    try:
        life.holder(place.runtime.supervisor_lock)
        paths.require_trusted(place.runtime)
    except (PermissionError, StartError):
        yield Finding("runtime directory", "fail", f"{directory} {whose(directory)}, not to you", NOT_YOURS_REMEDY)
    else:
        yield Finding("runtime directory", "ok", directory)


def check_data_directory(place: ClusterPlace) -> Findings:
    """Where the cluster would store its data."""
    existing = Path(place.data_dir)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = "choose another with --data-dir or $SHMLOG_DATA_DIR, or change its owner"
        yield Finding("data directory", "fail", f"{place.data_dir}: {existing} is not writable for you", remedy)
        return
    yield _room("data directory", place.data_dir, str(existing))


def check_log_directories(place: ClusterPlace) -> Findings:
    """Where partitions' logs are beside the data directory: what the cluster was given, and what it has used."""
    replicas = dict.fromkeys(place.log_dirs, 0)
    with contextlib.suppress(InvalidRequestError):  # never started, or not for us to read
        replicas |= {one.path: one.replicas for one in known_directories(place.data_dir)}
    for path, count in replicas.items():
        if path == place.data_dir or not (count or path in place.log_dirs or os.path.isdir(path)):
            continue
        if not os.path.isdir(path):
            found = f"{path}: not there" + (f"; it has {count_of(count, 'replica')} of partitions" if count else "")
            remedy = "mount or mend its disk, and start the cluster again, with --log-dir if it is at another path now"
            yield Finding("log directory", "warn", found, remedy)
        elif not os.access(path, os.W_OK | os.X_OK):
            remedy = "change its owner or mode, or mount its disk for writing, and start the cluster again"
            yield Finding("log directory", "fail", f"{path} is not writable for you", remedy)
        else:
            yield _room("log directory", path, path)


def _room(subject: str, path: str, existing: str) -> Finding:
    free = shutil.disk_usage(existing).free
    found = f"{path}, {human_bytes(free)} free"
    if free < DISK_BYTES_COMFORTABLE:
        return Finding(subject, "warn", found, "set retention.bytes or retention.ms, or use another disk")
    return Finding(subject, "ok", found)


def _remove_ipc_is_off() -> bool:
    """The last setting wins, drop-ins after the main file."""
    value = ""
    for place in LOGIND_FILES:
        files = sorted(Path(place).glob("*.conf")) if os.path.isdir(place) else [Path(place)]
        for file in files:
            with contextlib.suppress(OSError):
                for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                    key, equals, said = line.strip().partition("=")
                    if equals and key.strip() == "RemoveIPC":
                        value = said.strip().lower()
    return value in ("no", "false", "off", "0")


CHECKS: tuple[Callable[[ClusterPlace], Findings], ...] = (
    check_kernel,
    check_shared_memory,
    check_limits,
    check_file_size,
    check_cgroup,
    check_remove_ipc,
    check_runtime_directory,
    check_data_directory,
    check_log_directories,
)
