"""`shmlog memory`: what lies in /dev/shm, cluster by cluster, and what the cells of it say."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click

from shmlog.cli.attach import cluster_option
from shmlog.cli.cluster_paths import find_cluster
from shmlog.cli.output import count_of, human_bytes, output_option, print_json, text_table
from shmlog.errors import NoClusterError, ShmlogError
from shmlog.memory import layout, region
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.control_page import ControlPage
from shmlog.memory.replica_region import ReplicaRegion

NAME = re.compile(r"/shmlog\.(?P<tag>[0-9a-f]{8})\.(?P<letter>[plc])(?P<number>\d+)(?:\.(?P<part>\w+)(?:\.\d+)?)?")
KINDS = {
    "l": "lane",
    "c": "client",
    "ctl": "control page",
    "bell": "bell",
    "ring": "ring",
    "idx": "index",
    "replica": "replica",
}


@dataclass(frozen=True, slots=True)
class Region:
    """A region by its name: which cluster (tag), what it is, the number of its partition, lane or client."""

    name: str
    tag: str
    kind: str
    number: int
    bytes: int


@click.group()
def memory() -> None:
    """Look into the shared memory of clusters. Nothing is changed."""


@memory.command(
    short_help="List regions with their sizes and cells.",
    epilog="""\b
Examples:
  shmlog memory dump
  shmlog memory dump --all                        leftovers of dead clusters too
  shmlog memory dump -o json | jq '.[] | select(.kind == "control page")'
""",
)
@click.option("--all", "everything", is_flag=True, help="The regions of every cluster on this host, dead or alive.")
@cluster_option
@output_option
def dump(everything: bool, name: str | None, output: str) -> None:
    """List the regions of a cluster with their sizes and what their cells say."""
    found = list_all() if everything else _regions_of_cluster(name)
    cells = [cells_of(r) for r in found]
    rows: list[dict[str, object]] = [
        {"region": r.name, "kind": r.kind, "number": r.number, "bytes": r.bytes, "cells": c}
        for r, c in zip(found, cells, strict=True)
    ]
    if output == "json":
        print_json(rows)
        return
    table = [[r.name, r.kind, human_bytes(r.bytes), _brief(c)] for r, c in zip(found, cells, strict=True)]
    if table:
        click.echo(text_table(["region", "kind", "size", "cells"], table))
    total, free = sum(r.bytes for r in found), region.free_bytes()
    click.echo(
        f"{count_of(len(found), 'region')}, {human_bytes(total)}; {human_bytes(free)} free in {region.SHM_DIRECTORY}"
    )


def list_all(tag: str | None = None) -> list[Region]:
    """The regions of one cluster, or of all on this host."""
    found = []
    for name, size in region.list_regions(tag):
        match = NAME.fullmatch(name)
        if match is not None:
            kind = KINDS.get(match["part"] or match["letter"], "unknown")
            found.append(Region(name, match["tag"], kind, int(match["number"]), size))
    return found


def cells_of(found: Region) -> dict[str, Any]:
    """The cells that a person can make something of; empty for kinds that have none, an `error` if unreadable."""
    try:
        if found.kind == "control page":
            return _control_page(ControlPage.open(found.tag, found.number))
        if found.kind == "client":
            client = ClientRegion.open(found.name, writable=False)
            with contextlib.closing(client):
                return {"positions": {str(partition): offset for partition, offset in client.positions()}}
        if found.kind == "lane":
            return _lane(found.name)
        if found.kind == "replica":
            return _replica(ReplicaRegion.open(found.name, found.number))
    except (OSError, ShmlogError) as error:
        return {"error": str(error)}
    return {}


def _control_page(page: ControlPage) -> dict[str, Any]:
    with contextlib.closing(page):
        return {
            "state": page.state.name.lower(),
            "pid": page.pid,
            "leader_epoch": page.leader_epoch,
            "log_start_offset": page.log_start_offset,
            "high_watermark": page.high_watermark,
            "written_offset": page.written_offset,
            "synced_offset": page.synced_offset,
            "log_end_offset": page.log_end_offset,
            "trace_stride": page.trace_stride,
            "ring_generation": page.generation,
            "ring_bytes": page.ring_bytes,
            "lanes": [lane.lane_id for lane in page.lanes()],
            **page.counters(),
            "error": page.error_text,
        }


def _lane(name: str) -> dict[str, Any]:
    """The cells of its first page; the open word says where the open batch starts (in units of 8) and what is in it."""
    mapping = region.open_region(name, writable=False)
    with contextlib.closing(mapping):
        layout.RegionHeader.load(mapping, layout.KIND_LANE, name)
        word = mapping.load(layout.LANE_OPEN)
        return {
            "state": _word(mapping.load(layout.LANE_STATE), layout.LaneState),
            "head": mapping.load(layout.LANE_HEAD),
            "free": mapping.load(layout.LANE_FREE),
            "open_records": word & ((1 << 18) - 1),
            "open_bytes": word >> 18 & ((1 << 20) - 1),
            "open_closed": bool(word >> 38 & 1),
            "linger_us": mapping.load(layout.LANE_LINGER_US),
        }


def _replica(follower: ReplicaRegion) -> dict[str, Any]:
    with contextlib.closing(follower):
        return {
            "state": _word(follower.mapping.load(layout.REPLICA_STATE), layout.ReplicaState),
            "pid": follower.pid,
            "leader_epoch": follower.leader_epoch,
            "written_offset": follower.written_offset,
            "synced_offset": follower.synced_offset,
        }


def _word(state: int, states: type[IntEnum]) -> str:
    """For people; whoever can write to a region may have stored any number."""
    return states(state).name.lower() if state in list(states) else f"unknown ({state})"


def _regions_of_cluster(name: str | None) -> list[Region]:
    """Those of the running cluster of that name, but not the one that this process has for as long as it asks."""
    import shmlog
    from shmlog.cli.counters import region_tag

    place = find_cluster(name)
    if place.pid is None:
        raise NoClusterError(
            f"no cluster {place.name!r} is running; what dead ones left behind shows: shmlog memory dump --all"
        )
    with shmlog.connect(place.name) as cluster:
        info = cluster.describe()
        found = list_all(region_tag(info))
    ours = {client.client_id for client in info.clients if client.pid == os.getpid()}
    return [one for one in found if one.kind != "client" or one.number not in ours]


def _brief(cells: dict[str, Any]) -> str:
    """A few words per region for the table."""
    if cells.get("error"):
        return str(cells["error"])
    shown = ("state", "pid", "leader_epoch", "high_watermark", "log_end_offset", "positions", "head", "open_records")
    return ", ".join(f"{key}={cells[key]}" for key in shown if key in cells and cells[key] != {})
