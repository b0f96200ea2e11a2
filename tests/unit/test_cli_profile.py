"""Profiles: what is made of samples, of the file that they are in, and of stacks."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from shmlog.cli.main import run
from shmlog.cli.profile import histogram
from shmlog.cli.profile.flamegraph import MARGIN, WIDTH, svg
from shmlog.cli.profile.hops import HOPS, Reading, Sample, durations
from shmlog.cli.profile.recorded import NoProfileError, load
from shmlog.cli.profile.recording import FORMAT
from shmlog.cli.profile.stacks import OWNERS_MAX, NoProfilerError, folded_lines, look_at, owners_of
from shmlog.client.results import PartitionInfo, TopicInfo
from shmlog.errors import UnknownTopicOrPartitionError

SAMPLE = Sample("orders-0", 10, 5, 500, 1000, 3000, 3100, 8100, 8200)
READING = Reading("orders-0", 4, 8, 20, 58_200)

# --- hops -------------------------------------------------------------------------------------------------------------


def test_each_hop_is_the_time_between_two_stages() -> None:
    found = durations([SAMPLE], [READING])
    assert [found.ns[hop] for hop in HOPS] == [[2000], [100], [5000], [100], [50_000], [57_200]]
    assert found.impossible == 0


@pytest.mark.parametrize(
    "wrong", [{"accepted_ns": 0}, {"accepted_ns": 3001}, {"accepted_ns": 2**64 - 1}, {"written_ns": 8201}]
)
def test_times_that_cannot_be_are_counted_and_left_out(wrong: dict[str, int]) -> None:
    found = durations([SAMPLE, Sample(**{**asdict(SAMPLE), "offset": 15, **wrong})], [READING])
    assert found.impossible == 1
    assert [len(found.ns[hop]) for hop in HOPS] == [1] * 6


def test_every_client_reads_a_record_once() -> None:
    readings = [READING, replace(READING, read_ns=90_000), replace(READING, client=5, read_ns=9200)]
    assert sorted(durations([SAMPLE], readings).ns["visible", "read"]) == [1000, 50_000]


@pytest.mark.parametrize(
    "other",
    [{"first": 11}, {"end": 10}, {"partition": "orders-1"}, {"read_ns": 8199}],
    ids=lambda other: next(iter(other)),
)
def test_a_reading_of_something_else_is_not_taken_for_it(other: dict[str, object]) -> None:
    changed = Reading(**{**asdict(READING), **other})
    found = durations([SAMPLE], [changed])
    assert found.ns["visible", "read"] == []
    assert found.ns["written", "visible"] == [100]


# --- histograms -------------------------------------------------------------------------------------------------------


def test_quantiles_are_exact_and_every_duration_is_in_a_bucket() -> None:
    row = histogram.figures([0, 50, 1000, 10_000, 10**12])
    assert row is not None
    assert (row.count, row.p50_ns, row.max_ns) == (5, 1000, 10**12)
    assert row.mean_ns == pytest.approx((11_050 + 10**12) / 5)
    assert sum(row.buckets) == 5
    assert row.buckets[0] == 2
    assert row.buckets[-1] == 1
    assert [row.buckets[histogram.PER_DECADE * decade] for decade in (1, 2)] == [1, 1]
    assert histogram.figures([]) is None


def test_a_bucket_begins_where_it_says() -> None:
    for place, bound in enumerate(histogram.bucket_bounds_ns()):
        row = histogram.figures([round(bound) + 1])
        assert row is not None
        assert row.buckets.index(1) == place


def test_bars_stand_below_their_axis_and_nothing_that_is_there_is_invisible() -> None:
    many = [1000] * 1000
    row = histogram.figures([*many, 100_000])
    assert row is not None
    first, end = histogram.span([row])
    assert histogram.axis(first, end) == "1    10   100"
    assert histogram.bars(row, first, end) == "█         ▁"


# --- the file ---------------------------------------------------------------------------------------------------------


def lines_of(*lines: object) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


HEAD = {"format": FORMAT, "cluster": "here", "started_ms": 1}
END = {"seconds": 2.0, "lost": 3, "trouble": "nobody there"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.profile"
    other = replace(SAMPLE, partition="orders-10")
    path.write_bytes(lines_of(HEAD, asdict(SAMPLE), asdict(other), asdict(READING), END))
    return path


def test_a_file_gives_back_what_was_recorded(file: Path) -> None:
    found = load(file)
    assert found.samples[0] == SAMPLE
    assert found.readings == [READING]
    assert found.partitions() == ["orders-0", "orders-10"]
    assert (found.cluster, found.seconds, found.lost, found.trouble) == ("here", 2.0, 3, "nobody there")


def test_whatever_a_killed_recorder_left_can_be_read(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        file.write_bytes(whole[:length])
        found = load(file)
        assert found.seconds is None
        assert len(found.samples) + len(found.readings) == whole[:length].count(b"\n") - 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"\x00\xff\n",
        b"[1]\n",
        lines_of({"format": "perf"}),
        lines_of(HEAD, {"taken_ns": 1}),
        lines_of(HEAD, 7),
    ],
)
def test_another_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(NoProfileError, match=str(path)):
        load(path)


def test_a_report_has_a_line_for_each_hop(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "report", str(file), "--partition", "orders-0"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("orders-0: 1 record followed in 2 s, read by 1 client\n")
    assert "accepted > taken         1   2.0   2.0   2.0   2.0     3%        █\n" in said
    assert "accepted > read          1  57.2  57.2  57.2  57.2      -" in said
    assert "3 samples were overwritten" in said
    assert "nobody there" in said


def test_a_report_of_all_can_have_a_table_for_each_and_be_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "report", str(file), "--each", "-o", "json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert [(one["partition"], one["samples"], one["readings"]) for one in found] == [
        ("all partitions", 2, 1),
        ("orders-0", 1, 1),
        ("orders-10", 1, 0),
    ]
    assert found[1]["hops"][-1]["p99_us"] == 57.2
    assert [hop["to"] for hop in found[2]["hops"]] == ["taken", "published", "written", "visible"]
    assert sum(count for _, count in found[0]["hops"][0]["buckets"]) == 2


def test_a_report_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty"
    path.write_bytes(lines_of(HEAD))
    assert run(["profile", "report", str(path)]) == 0
    said = capsys.readouterr().out
    assert "0 records followed, read by nobody" in said
    assert "The recorder was killed" in said
    assert run(["profile", "report", str(path), "--partition", "orders-9"]) == 1
    assert "no record of partition 'orders-9'; it has none at all" in capsys.readouterr().err


# --- stacks -----------------------------------------------------------------------------------------------------------


def topic(name: str, *pids: int) -> TopicInfo:
    found = tuple(PartitionInfo(number, number, 0, "running", pid, "") for number, pid in enumerate(pids))
    return TopicInfo(name, "", False, {}, {}, found)


def test_owners_are_chosen_by_the_names_of_their_partitions() -> None:
    topics = [topic("orders", 11, 12), topic("waiting", 0)]
    assert owners_of(topics, ()) == {"orders-0": 11, "orders-1": 12}
    assert owners_of(topics, ["orders-1"]) == {"orders-1": 12}
    with pytest.raises(UnknownTopicOrPartitionError, match="'waiting-0'"):
        owners_of(topics, ["waiting-0"])
    with pytest.raises(UnknownTopicOrPartitionError, match="no owner runs"):
        owners_of([], ())
    with pytest.raises(NoProfilerError, match="choose some with --partition"):
        owners_of([topic("many", *range(1, OWNERS_MAX + 2))], ())


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are found."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    return directory


def make_tool(directory: Path, script: str) -> None:
    tool = directory / "py-spy"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def test_stacks_begin_where_the_owner_does(tools: Path) -> None:
    lead = "<module> (workers/zygote.py:1);main (workers/zygote.py:2);"
    stack = "run (shmlog/partition/owner.py:65);Publisher._run (publish.pyx:9)"
    make_tool(tools, f"[ $3 = 11 ] && echo '{lead}{stack} 7' > $5; [ $3 = 12 ] && echo 'other 2' > $5; exit 0")
    found = look_at({"orders-0": 11, "orders-1": 12, "idle-0": 13}, seconds=1, rate=10)
    assert found == {("orders-0", *stack.split(";")): 7, ("orders-1", "other"): 2}
    assert list(folded_lines(found)) == [f"orders-0;{stack} 7", "orders-1;other 2"]


def test_without_the_tool_it_is_said_how_to_get_it(tools: Path) -> None:
    with pytest.raises(NoProfilerError, match=r"pip install 'shmlog\[profile\]'"):
        look_at({"orders-0": 11}, seconds=1, rate=10)


@pytest.mark.parametrize(
    ("said", "pid", "explained"),
    [
        (
            "Permission Denied: Try running again with elevated permissions",
            os.getpid(),
            "may not look at the owner of orders-0",
        ),
        ("Error: something odd", os.getpid(), "could not look at the owner of orders-0 .*: Error: something odd"),
        ("Error: no such process", 2**22 + 1, "ended meanwhile: try again"),
    ],
)
def test_a_tool_that_fails_is_explained(tools: Path, said: str, pid: int, explained: str) -> None:
    make_tool(tools, f"echo '{said}' >&2; exit 1")
    with pytest.raises(NoProfilerError, match=explained):
        look_at({"orders-0": pid}, seconds=1, rate=10)


def test_the_width_of_a_frame_is_its_share() -> None:
    stacks = Counter({("orders-0", "run <a> (owner.py:1)"): 3, ("orders-0",): 1, ("orders-1", "b"): 4})
    root = ElementTree.fromstring(svg(stacks, "orders & co"))
    space = "{http://www.w3.org/2000/svg}"
    widths = {}
    for group in root.iter(f"{space}g"):
        title, rect = group.find(f"{space}title"), group.find(f"{space}rect")
        assert title is not None
        assert rect is not None
        widths[title.text] = float(rect.get("width", "0"))
    whole = WIDTH - 2 * MARGIN
    assert widths == {
        "all: 8 of 8 (100.0%)": pytest.approx(whole, abs=1),
        "orders-0: 4 of 8 (50.0%)": pytest.approx(whole / 2, abs=1),
        "run <a> (owner.py:1): 3 of 8 (37.5%)": pytest.approx(whole * 3 / 8, abs=1),
        "orders-1: 4 of 8 (50.0%)": pytest.approx(whole / 2, abs=1),
        "b: 4 of 8 (50.0%)": pytest.approx(whole / 2, abs=1),
    }


def test_a_picture_of_sleepers_says_so() -> None:
    text = svg(Counter(), "orders-0")
    assert ElementTree.fromstring(text) is not None
    assert "all slept" in text
