"""The benchmarks measure something, judge it, and refuse to report what proves nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

import shmlog
from shmlog import Record
from shmlog.testing.latency_probe import LatencyPlan
from shmlog.tools.bench import seek as seek_bench, startup as startup_bench, targets, throughput, versus_worker
from shmlog.tools.bench.figures import Figures
from shmlog.tools.bench.pinning import FREE, pinnings
from shmlog.tools.bench.rebalance_worker import Reads
from shmlog.tools.bench.throughput_worker import make_payloads

pytestmark = pytest.mark.slow

KEYS = {
    *("records_per_second", "megabytes_per_second", "producer_ns_per_record", "consumer_ns_per_record"),
    *("owner_ns_per_record", "loop_ns", "copy_gbps", "wake_us", "p50_us", "p99_us", "p999_us"),
    *("replication_factor", "kills", "attempts", "acks", "lost", "duplicated", "pause_ms_p50", "pause_ms_p99"),
}
CALIBRATION = {"loop_ns", "copy_gbps", "wake_us"}
CALIBRATED = Figures(loop_ns=10.0, copy_gbps=3.0, wake_us=35.0)
FULL_COUNTS = {"ring_chunks": 0, "segment_chunks": 0}.copy
FAILOVER = {"replication_factor", "kills", "pause_ms_p50", "pause_ms_p99", "records_per_second"}
ACCOUNT = {"attempts", "acks", "lost", "duplicated"}


def bench(*arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    program = [sys.executable, "-P", "-m", "shmlog.cli.main", "bench", *arguments, "-o", "json"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    return (orjson.loads(done.stdout) if code == 0 else {}), done.stderr


def measured(figures: dict[str, Any]) -> set[str]:
    assert set(figures) == KEYS
    return {name for name, value in figures.items() if value is not None}


def test_throughput_accounts_for_every_record() -> None:
    figures, _ = bench("throughput", "--records", "20000", "--rounds", "2")
    costs = {"producer_ns_per_record", "consumer_ns_per_record", "owner_ns_per_record"}
    assert measured(figures) == CALIBRATION | ACCOUNT | costs | {"records_per_second", "megabytes_per_second"}
    assert (figures["attempts"], figures["acks"], figures["lost"], figures["duplicated"]) == (60_000, 60_000, 0, 0)


def test_bulk_throughput_without_acks_accounts_for_every_record() -> None:
    figures, _ = bench("throughput", "--records", "20000", "--rounds", "1", "--bulk", "--acks", "0", "--size", "1024")
    assert (figures["attempts"], figures["acks"], figures["lost"], figures["duplicated"]) == (40_000, 0, 0, 0)


def test_latency_is_measured_from_the_intended_start() -> None:
    figures, _ = bench("latency", "--rate", "500", "--seconds", "1")
    assert measured(figures) == CALIBRATION | ACCOUNT | {"p50_us", "p99_us", "p999_us"}
    assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"]
    assert (figures["lost"], figures["duplicated"]) == (0, 0)


def test_the_ladder_has_a_row_for_every_level_of_acks_idle_and_loaded() -> None:
    found, _ = bench("latency", "--ladder", "--rate", "500", "--seconds", "0.1", "--rounds", "1")
    rungs = [("0", 1, None), ("1", 1, None), ("all", 1, None), ("all", 2, None), ("all", 1, 1), ("all", 2, 1)]
    rows = [(row["acks"], row["replication_factor"], row["flush_messages"], row["load"]) for row in found["cases"]]
    assert rows == [(*rung, load) for load in ("idle", "loaded") for rung in rungs]
    for row in found["cases"]:
        assert row["records"] == 50
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"]
    assert (found["records_per_second"], found["bytes_per_record"]) == (500, 100)


@pytest.mark.parametrize(("replication_factor", "how"), [(1, []), (2, []), (2, ["--remove-directory"])])
def test_owners_are_killed_under_load_and_nothing_is_lost(replication_factor: int, how: list[str]) -> None:
    replicas = ("--replication-factor", str(replication_factor), *how)
    figures, _ = bench("failover", "--kills", "4", "--rate", "5000", "--partitions", "2", *replicas)
    assert measured(figures) == CALIBRATION | ACCOUNT | FAILOVER
    assert (figures["kills"], figures["replication_factor"]) == (4, replication_factor)
    assert figures["acks"] == figures["attempts"] > 0
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert 0 < figures["pause_ms_p50"] <= figures["pause_ms_p99"]


def test_a_case_with_a_target_is_measured_where_it_was_told_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[tuple[int, int | None]] = []
    monkeypatch.setattr(targets, "TARGETS", {("one", "records", 100): targets.TARGETS["one", "records", 100]})
    monkeypatch.setattr(throughput, "pin", lambda pid, core: pinned.append((pid, core)))
    one_core = pinnings()[1]
    rows = list(targets.throughput_rows([one_core], 1, 0.001, tmp_path, CALIBRATED))
    assert [row["figure"] for row in rows] == ["producer ns/record", "consumer ns/record", "million records/s"]
    assert {row["placement"] for row in rows} == {"one core"}
    assert [core for _, core in pinned] == [one_core.owner]


def test_columns_are_a_case_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is accounted for, or the row would be an InexactError."""
    case = ("columns", "columns", 100)
    monkeypatch.setattr(targets, "TARGETS", {case: targets.TARGETS[case]})
    rows = list(targets.throughput_rows([FREE], 1, 0.01, tmp_path, CALIBRATED))
    assert [(row["send"], row["figure"]) for row in rows] == [
        ("columns", "producer ns/record"),
        ("columns", "consumer ns/record"),
    ]


def test_latency_is_measured_idle_and_loaded_and_only_idle_has_a_target(tmp_path: Path) -> None:
    plan = LatencyPlan("latency", 1000.0, 0.2)
    rows = list(targets.latency_rows([FREE], 1, plan, tmp_path, CALIBRATED))
    assert [(row["load"], row["figure"], row["target"] is None) for row in rows] == [
        *(("idle", "p50 us", False), ("idle", "p99 us", True), ("loaded", "p50 us", True), ("loaded", "p99 us", True))
    ]


def test_versus_measures_shmlog_and_peers_in_the_same_rounds(tmp_path: Path) -> None:
    picture = tmp_path / "versus.svg"
    arguments = ("--peers", "pipe,queue", "--rounds", "2", "--burst", "0.02", "--paced", "0.05")
    found, _ = bench("versus", *arguments, "--size", "100", "--picture", str(picture))
    peers = {peer["name"]: peer for peer in found["peers"]}
    assert set(peers) == {"shmlog", "shmlog-many", "pipe", "queue"}
    assert {peer["not_measured"] for peer in peers.values()} == {None}
    for name, peer in peers.items():
        figures = peer["sizes"]["100"]
        assert len(figures["records_per_second"]["rounds"]) == 2
        assert (figures["p50_us"] is None) == (name == "shmlog-many")
    assert peers["pipe"]["sizes"]["100"]["shmlog_records_per_second_ratio"] > 0
    assert set(found["calibration"]) == CALIBRATION
    assert "<svg" in picture.read_text()


def test_a_peer_that_loses_a_record_is_no_figure_but_a_failure() -> None:
    payloads = make_payloads(0, 10, 100)
    forgetful = SimpleNamespace(receive=lambda most: payloads[:4] + payloads[5:][: most - 4])
    with pytest.raises(ValueError, match="record 9 with 100 bytes instead of record 8"):
        versus_worker._receive_burst(forgetful, versus_worker.Burst(10, 100))


def test_seeks_are_timed_from_segments_and_from_the_ring_by_offset_and_by_time() -> None:
    found, _ = bench("seek", "--records", "60000", "--seeks", "20", "--cold")
    cases = {(case["seek_by"], case["read_from"]): case for case in found["cases"]}
    assert set(cases) == {(by, where) for by in ("offset", "timestamp") for where in ("segments", "ring")}
    for (_, where), case in cases.items():
        assert 0 < case["p50_us"] <= case["p99_us"] <= case["most_us"]
        assert case[f"{where.removesuffix('s')}_chunks"] >= 20
        assert case["verdict"] == ("met" if case["p99_us"] <= 1000 else "missed")
    assert "posix_fadvise" in found["page_cache"]


def test_a_seek_that_finds_another_record_is_an_error() -> None:
    astray = [Record("seek", 0, 3, 0, value=b"." * 100)]
    consumer = SimpleNamespace(
        assign=lambda _: None, seek=lambda *_: None, poll=lambda **_: astray, metrics=FULL_COUNTS
    )
    cluster = SimpleNamespace(consumer=lambda: contextlib.nullcontext(consumer))
    with pytest.raises(seek_bench.WrongRecordError, match="looked for offset 7"):
        seek_bench._case(cluster, seek_bench.SeekPlan(10, 100, 1, 1, False), seek_bench._by_offset, range(7, 8))


def test_startup_compares_a_large_with_a_small_partition() -> None:
    found, _ = bench("startup", "--segments", "20", "--rounds", "1")
    assert [case["case"] for case in found["cases"]] == [
        *("start, small", "start, large", "owner killed, small", "owner killed, large")
    ]
    assert all(case["median_ms"] > 0 for case in found["cases"])
    assert found["verdict"] == "not judged with 20 segments"


def test_takeover_kills_supervisors_and_loses_no_record() -> None:
    found, _ = bench("takeover", "--rounds", "2", "--partitions", "2")
    topic, noticed, quiet = found["cases"]
    assert topic["case"] == "kill to a new topic"
    assert 0 < topic["p50_ms"] <= topic["p99_ms"] <= topic["most_ms"]
    assert noticed["most_ms"] > 0 < quiet["most_ms"]
    assert found["records"] > found["unread"] == 0
    assert found["verdict"] == ("met" if topic["p99_ms"] <= 200 else "missed")


def test_rebalance_kills_and_adds_members_and_finds_every_partition_read_again() -> None:
    found, _ = bench("rebalance", "--rounds", "1", "--members", "2", "--partitions", "4", "--rate", "50")
    kill, join, unmoved, quiet = found["cases"]
    assert 0 < kill["p50_ms"] == found["p50_ms"] == found["p99_ms"]
    assert 0 < join["p50_ms"] == found["join_p50_ms"]
    assert unmoved["samples"] == 2 + 2  # of the survivor: what it had, then what it keeps beside the new member
    assert (found["unmoved_gap_p99_ms"], found["quiet_gap_p99_ms"]) == (unmoved["p99_ms"], quiet["p99_ms"])
    assert found["unmoved_pause_ms_max"] == 0 < found["records_sent"]


def test_a_member_tells_first_reads_gaps_and_pauses_within_a_time() -> None:
    reads = Reads()
    for at_ns, partitions in ((10, [1]), (20, [1, 2]), (25, [2]), (60, [1, 2]), (65, [1]), (99, [1])):
        reads.note(partitions, at_ns)
    reads.revoked, reads.assigned = [(5, 1), (30, 2), (40, 2), (80, 1)], [(12, 1), (33, 2), (55, 2), (90, 1)]
    told = reads.between(15, 70)
    assert told == {"partitions": [1, 2], "first_ns": [20, 20], "gap_ns": [40, 35], "paused_ns": [0, 15]}
    assert reads.between(15, 50)["paused_ns"] == [0, 10], "it has not been given back"
    reads.forget()
    assert reads.between(0, 100) == {"partitions": [], "first_ns": [], "gap_ns": [], "paused_ns": []}


def test_commits_are_measured_in_memory_in_the_log_and_synced_and_none_is_lost() -> None:
    found, _ = bench("commit", "--commits", "30")
    assert [case["case"] for case in found["cases"]] == ["asynchronous", "committed", "synced"]
    assert all(0 < case["p50_us"] <= case["p99_us"] <= case["most_us"] for case in found["cases"])
    assert [case["records_written"] >= 50 for case in found["cases"]] == [False, True, True]
    assert (found["last_offset"], found["lost"]) == (150, 0)


def test_the_segments_of_the_startup_benchmark_are_a_log_that_can_be_read_through(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("large")
    startup_bench.write_segments(tmp_path / "data", "large", 5)
    assert len(list((tmp_path / "data" / "large-0").glob("*.log"))) == 6  # the last one is empty
    with shmlog.start(tmp_path / "data") as cluster, cluster.consumer("large", consumer_timeout_ms=500) as consumer:
        assert [record.offset for record in consumer] == list(range(5 * startup_bench.RECORDS_PER_SEGMENT))


def test_no_kills_is_an_error() -> None:
    _, complaint = bench("failover", "--kills", "0", "--rate", "5000", code=1)
    assert "proves nothing" in complaint


@pytest.mark.long
@pytest.mark.parametrize("acks", ["all", "1"])
def test_fifty_kills_at_fifty_thousand_records_per_second_lose_nothing(acks: str) -> None:
    figures, _ = bench("failover", "--acks", acks)
    assert figures["kills"] >= 50
    assert (figures["lost"], figures["duplicated"]) == (0, 0)


def test_scale_reads_what_it_sends_and_reports_what_partitions_take() -> None:
    found, _ = bench(
        "scale", "--partitions", "3", "--records", "2000", "--rounds", "1", "--idle", "1", "--clients", "2"
    )
    assert [row["partitions"] for row in found["cases"]] == [6, 3, 6, 3, 1]
    assert all(row["records_per_second"] > 0 for row in found["cases"])
    assert 0 < found["owner_private_mb"] <= found["owner_private_mb_most"]
    assert 0 < found["shared_memory_mb"] < found["shared_memory_mb_under_load"] < found["shared_memory_budget_mb"]
    assert found["created_s"] > 0
    assert found["up_again_s"] > 0
    assert found["verdict"] == "not judged with 3 partitions"
