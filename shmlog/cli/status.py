"""`shmlog status`: the cluster, and each partition with its owner."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect
from shmlog.cli.counters import Observer, PartitionSample, Rates
from shmlog.cli.output import cell_text, count_of, fit, human_bytes, human_rate, output_option, print_json, text_table
from shmlog.cli.replicas import out_of_sync, under_min_isr
from shmlog.control import life
from shmlog.control.paths import RuntimePaths

if TYPE_CHECKING:
    from shmlog import ClusterInfo, TopicInfo

MEASURE_S = 0.25
LEFT_OUT_FIRST = ("ring", "start", "epoch", "cpu %", "memory", "disk")
"""Where a terminal is too narrow for all columns; a pipe and -o json have them all."""


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Private memory in bytes (None where it cannot be read) and CPU in percent of one core."""

    memory_bytes: int | None
    cpu_percent: float | None


@click.command(
    epilog="""\b
Examples:
  shmlog status
  shmlog status -o json | jq '.partitions[] | select(.state != "running")'
"""
)
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be repeated.")
@cluster_option
@output_option
def status(topics: tuple[str, ...], name: str | None, output: str) -> None:
    """Show the cluster and each partition: pid, state, epoch, offsets, bytes, rate, memory, CPU.

    Rates and CPU are measured over a quarter of a second. The exit code is 1 if a partition does not run. What a
    recovery found damaged is shown until its *.damaged files are removed.
    """
    observer = Observer()
    with connect(name) as cluster, contextlib.closing(observer):
        described = cluster.admin.describe_topics(topics or cluster.admin.list_topics(internal=True))
        info = _without_this_process(cluster.describe())
        observer.refresh(info, described)
        rates = Rates()
        rates.update(observer.samples())
        uses = measure_processes({sample.pid for sample in observer.samples()} | {info.pid, info.zygote_pid})
        samples = observer.samples()
        rates.update(samples)
    rows = partition_rows(described, samples, rates, uses)
    if output == "json":
        damage = [asdict(found) for found in info.damage]
        directories = [asdict(one) for one in info.directories]
        whole = _cluster_json(info, uses.get(info.pid))
        print_json({**whole, "directories": directories, "damage": damage, "partitions": rows})
    else:
        click.echo("\n".join(_cluster_lines(info, uses.get(info.pid))))
        _print_table(rows)
        for sentence in (*under_min_isr(described), *out_of_sync(described)):
            click.echo(sentence, err=True)
        for sentence in {one.refusal for one in info.directories if one.refusal}:
            click.echo(sentence, err=True)
        for found in info.damage:
            click.echo(f"damage: {found.message}", err=True)
    if any(row["state"] not in ("running", "closing") for row in rows):
        raise click.exceptions.Exit(1)


def _without_this_process(info: ClusterInfo) -> ClusterInfo:
    """Who looks is a client, too, but not one that anybody asks for."""
    return replace(info, clients=tuple(client for client in info.clients if client.pid != os.getpid()))


def measure_processes(pids: set[int]) -> dict[int, ProcessUse]:
    """Memory and CPU of these processes over MEASURE_S; those that end meanwhile are left out."""
    import psutil

    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.Error, ValueError):
            process = psutil.Process(pid)
            process.cpu_percent()
            processes.append(process)
    time.sleep(MEASURE_S)
    uses = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                memory = process.memory_full_info().uss
            except psutil.AccessDenied:
                memory = None
            uses[process.pid] = ProcessUse(memory, process.cpu_percent())
    return uses


def partition_rows(
    topics: list[TopicInfo], samples: list[PartitionSample], rates: Rates, uses: dict[int, ProcessUse]
) -> list[dict[str, object]]:
    """One row per partition, with what its control page says where it has one."""
    by_place = {(sample.topic, sample.partition): sample for sample in samples}
    rows: list[dict[str, object]] = []
    for topic in topics:
        for partition in topic.partitions:
            sample = by_place.get((topic.name, partition.partition))
            use = uses.get(partition.pid)
            rows.append(
                {
                    "partition": f"{topic.name}-{partition.partition}",
                    "pid": partition.pid or None,
                    "state": partition.state,
                    "epoch": partition.leader_epoch,
                    "replicas": len(partition.replicas),
                    "in_sync": sum(one.in_sync for one in partition.replicas),
                    "under_min_isr": partition.under_min_isr,
                    "start": sample.log_start_offset if sample else None,
                    "end": sample.high_watermark if sample else None,
                    "disk_bytes": disk_bytes(partition.log_dir),
                    "ring_bytes": sample.ring_bytes if sample else None,
                    "records_per_second": round(rates.records.get(sample.name, 0.0)) if sample else None,
                    "memory_bytes": use.memory_bytes if use else None,
                    "cpu_percent": use.cpu_percent if use else None,
                    "error": sample.error if sample and sample.error else partition.error,
                    "rewrites": sample.rewrites if sample else 0,
                }
            )
    return rows


def disk_bytes(directory: str) -> int:
    """What a partition's files take; 0 if they are gone or may not be seen."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat().st_size
    return total


def _cluster_json(info: ClusterInfo, use: ProcessUse | None) -> dict[str, object]:
    return {
        "name": info.name,
        "cluster_id": info.cluster_id,
        "version": info.version,
        "pid": info.pid,
        "standby_pids": _standbys(info),
        "uptime_seconds": round(time.time() - info.started_ms / 1000, 1),
        "data_dir": info.data_dir,
        "runtime_dir": info.runtime_dir,
        "shm_budget_bytes": info.shm_budget_bytes,
        "shm_used_bytes": info.shm_used_bytes,
        "owner_restarts": info.owner_restarts,
        "clients": len(info.clients),
        "memory_bytes": use.memory_bytes if use else None,
    }


def _cluster_lines(info: ClusterInfo, use: ProcessUse | None) -> list[str]:
    memory = f", {human_bytes(use.memory_bytes)} of memory" if use and use.memory_bytes is not None else ""
    used, budget = human_bytes(info.shm_used_bytes), human_bytes(info.shm_budget_bytes)
    clients, restarts = count_of(len(info.clients), "client"), count_of(info.owner_restarts, "owner restart")
    uptime = _duration(time.time() - info.started_ms / 1000)
    who = f"cluster {info.name!r} ({info.cluster_id}), shmlog {info.version}"
    standbys = "".join(f", standby pid {pid}" for pid in _standbys(info))
    return [
        f"{who}, supervisor pid {info.pid}{standbys}, up {uptime}{memory}",
        f"data {info.data_dir}, runtime {info.runtime_dir}",
        f"shared memory {used} of {budget}, {clients}, {restarts}",
        *_directory_lines(info),
    ]


def _standbys(info: ClusterInfo) -> list[int]:
    """Pids of the supervisors that wait to take over; none that may not be seen."""
    directory = RuntimePaths(info.runtime_dir).standbys
    found: list[int | None] = []
    with contextlib.suppress(OSError):
        found = [life.holder(os.path.join(directory, name)) for name in sorted(os.listdir(directory))]
    return [pid for pid in found if pid]


def _directory_lines(info: ClusterInfo) -> list[str]:
    """The log directories; none if logs are in the data directory alone, and no room is kept there."""
    lines = []
    for one in info.directories:
        free = f", {human_bytes(one.free_bytes)} free" if one.free_bytes is not None else ""
        closed = ", takes no new ones" if not one.takes_new and not one.error else ""
        offline = f"; offline: it {one.error}" if one.error else ""
        kept = f", {human_bytes(one.reserve_bytes)} of that in reserve" if one.reserve_bytes and free else ""
        refuses = "; takes no records, because of its reserve" if one.refusal else ""
        what = f"{count_of(one.replicas, 'replica')}{free}{kept}{closed}{offline}{refuses}"
        lines.append(f"logs {one.path} ({one.directory_id}): {what}")
    is_only_one = [one.path for one in info.directories] == [info.data_dir]
    return [] if is_only_one and not info.directories[0].reserve_bytes else lines


def _print_table(rows: list[dict[str, object]]) -> None:
    if not rows:
        click.echo("no topics yet; make one with: shmlog topic create NAME")
        return
    headers = ["partition", "pid", "state", "epoch", "start", "end", "disk", "ring", "rate", "memory", "cpu %"]
    plain = ("partition", "pid", "state", "epoch", "start", "end")
    sizes = ("disk_bytes", "ring_bytes")
    table = [
        [
            *(row[name] if name != "pid" or row[name] is None else str(row[name]) for name in plain),
            *(_size(row[name]) for name in sizes),
            _rate(row["records_per_second"]),
            _size(row["memory_bytes"]),
            row["cpu_percent"],
        ]
        for row in rows
    ]
    if sys.stdout.isatty():
        texts = [[cell_text(value) for value in line] for line in table]
        headers, *texts = fit(headers, texts, shutil.get_terminal_size().columns, LEFT_OUT_FIRST)
        click.echo(text_table(headers, texts))
    else:
        click.echo(text_table(headers, table))
    for row in rows:
        if row["error"]:
            click.echo(f"{row['partition']}: {row['error']}", err=True)
        if row["rewrites"]:
            times = count_of(int(str(row["rewrites"])), "failed sync")
            click.echo(f"{row['partition']}: {times}, made good in new files; look at the disk", err=True)


def _size(value: object) -> str | None:
    return human_bytes(value) if isinstance(value, int) else None


def _rate(value: object) -> str | None:
    return human_rate(value) if isinstance(value, int) else None


def _duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
