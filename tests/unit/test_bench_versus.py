"""The comparison with peers: ratios are taken inside a round, losses are printed, who is missing or fails is named."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from shmlog.errors import InvalidArgumentError
from shmlog.tools.bench import versus_report
from shmlog.tools.bench.figures import Figures
from shmlog.tools.bench.peers import jetstream
from shmlog.tools.bench.peers.catalog import OTHERS, OWN, choose
from shmlog.tools.bench.peers.own import SHMLOG, SHMLOG_MANY
from shmlog.tools.bench.peers.peer import Peer, Route
from shmlog.tools.bench.peers.standard_library import PIPE
from shmlog.tools.bench.versus import Comparison, Row, Samples, VersusPlan, measure, ratio
from shmlog.tools.bench.versus_picture import svg

CALIBRATION = Figures(loop_ns=12.0, copy_gbps=3.0, wake_us=35.0)


def refuse(_directory: Path, _size_bytes: int) -> contextlib.AbstractContextManager[Route]:
    raise LookupError("the disk is on fire")


ABSENT = Peer("absent", "Absent", "none", "all", refuse, library="no_such_module", package="no-such-package")
BROKEN = Peer("broken", "Broken", "none", "all", refuse)


def samples(per_second: dict[int, float], p50_us: dict[int, float]) -> Samples:
    return Samples(1000, per_second, {0: 1.0}, {0: 1.0}, p50_us, {number: 2 * us for number, us in p50_us.items()})


def comparison(*rows: Row) -> Comparison:
    return Comparison(VersusPlan([row.peer for row in rows], [100], 2, 0.1, 0.1, 1000.0), list(rows), 0.5, 0.5)


FASTER_AND_LATER = comparison(
    Row(SHMLOG, None, {100: samples({0: 4e6, 1: 8e6}, {0: 30.0, 1: 30.0})}),
    Row(SHMLOG_MANY, None, {100: samples({0: 9e6, 1: 9e6}, {})}),
    Row(PIPE, None, {100: samples({0: 1e6, 1: 2e6}, {0: 10.0, 1: 10.0})}),
    Row(ABSENT, ABSENT.missing()),
)


def test_a_ratio_compares_what_ran_in_the_same_round() -> None:
    drifting, steady = {0: 1e6, 1: 2e6, 2: 9e6}, {0: 1e5, 1: 2e5, 2: 9e5}
    assert ratio(drifting, steady) == pytest.approx(10)
    assert ratio({0: 5.0}, {1: 5.0}) is None


def test_a_case_that_shmlog_loses_is_told_in_words() -> None:
    assert versus_report.behind(FASTER_AND_LATER) == [
        "shmlog is behind multiprocessing.Pipe: 3.0 times the p50 at 100 B, 3.0 times the p99 at 100 B."
    ]


def test_the_report_gives_median_range_ratio_settings_and_what_is_missing() -> None:
    report = versus_report.markdown(FASTER_AND_LATER, CALIBRATION)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines()]
    assert ["multiprocessing.Pipe", "1.5 (1 to 2) [4.0x]"] in cells
    assert ["multiprocessing.Pipe", "10, 20 [3.0x]"] in cells
    assert PIPE.settings in report
    assert PIPE.lacks in report
    assert "Absent: not measured: not installed (pip install no-such-package)." in report
    assert "shmlog is behind multiprocessing.Pipe" in report


def test_the_json_has_every_peer_whether_it_was_measured_or_not() -> None:
    found = versus_report.as_json(FASTER_AND_LATER, CALIBRATION)
    peers = found["peers"]
    assert isinstance(peers, list)
    assert [peer["name"] for peer in peers] == ["shmlog", "shmlog-many", "pipe", "absent"]
    assert peers[2]["sizes"]["100"]["shmlog_records_per_second_ratio"] == pytest.approx(4)
    assert peers[3]["not_measured"] == "not installed (pip install no-such-package)"


def test_the_picture_is_well_formed_and_names_who_was_measured() -> None:
    texts = [element.text for element in ET.fromstring(svg(FASTER_AND_LATER)).iter() if element.text]
    assert {"shmlog, send", "multiprocessing.Pipe"} <= set(texts)
    assert "Absent" not in texts


def test_a_peer_that_cannot_start_is_reported_and_not_asked_again(tmp_path: Path) -> None:
    broken, absent = measure(VersusPlan([BROKEN, ABSENT], [100, 1024], 1, 0.001, 0.01, 1000.0), tmp_path).rows
    assert broken.not_measured == "failed: Broken: LookupError: the disk is on fire"
    assert not (tmp_path / "1024" / BROKEN.name).exists()
    assert absent.not_measured == "not installed (pip install no-such-package)"


@pytest.mark.parametrize("half_written", [b"", b'{"nats": ['])
def test_a_server_that_has_not_finished_saying_where_it_listens_is_not_ready(
    tmp_path: Path, half_written: bytes
) -> None:
    file = tmp_path / "nats-server_1.ports"
    assert jetstream._url(tmp_path) is None
    file.write_bytes(half_written)
    assert jetstream._url(tmp_path) is None
    file.write_bytes(b'{"nats": ["nats://127.0.0.1:4"]}')
    assert jetstream._url(tmp_path) == "nats://127.0.0.1:4"


def test_peers_are_chosen_by_name_and_shmlog_is_always_there() -> None:
    assert choose("pipe") == [*OWN, PIPE]
    assert choose("all") == [*OWN, *OTHERS]
    with pytest.raises(InvalidArgumentError, match="carrier-pigeon"):
        choose("pipe,carrier-pigeon")


@pytest.mark.parametrize("peer", OTHERS, ids=lambda peer: peer.name)
def test_every_peer_says_what_it_does_not_give_and_how_it_is_installed(peer: Peer) -> None:
    assert peer.settings
    assert peer.lacks
    assert bool(peer.library) == bool(peer.package)
    assert bool(peer.program) == bool(peer.remedy)
