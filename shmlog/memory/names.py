"""Names of shared-memory regions: flat, short and built from ids, because topic names may be too long for them."""

from __future__ import annotations

import hashlib

PREFIX = "/shmlog."


def cluster_tag(cluster_id: str, runtime_dir: str) -> str:
    """Eight hex digits that stand for one running cluster in the names of its regions."""
    return hashlib.sha256(f"{cluster_id}\0{runtime_dir}".encode()).hexdigest()[:8]


def control_page(tag: str, partition_id: int) -> str:
    return f"{PREFIX}{tag}.p{partition_id}.ctl"


def bell(tag: str, partition_id: int) -> str:
    return f"{PREFIX}{tag}.p{partition_id}.bell"


def ring(tag: str, partition_id: int, generation: int) -> str:
    return f"{PREFIX}{tag}.p{partition_id}.ring.{generation}"


def index(tag: str, partition_id: int, generation: int) -> str:
    return f"{PREFIX}{tag}.p{partition_id}.idx.{generation}"


def lane(tag: str, lane_id: int) -> str:
    return f"{PREFIX}{tag}.l{lane_id}"


def client(tag: str, client_id: int) -> str:
    return f"{PREFIX}{tag}.c{client_id}"


def replica(tag: str, partition_id: int, replica_id: int) -> str:
    return f"{PREFIX}{tag}.p{partition_id}.replica.{replica_id}"
