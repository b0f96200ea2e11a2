"""How results are printed, and what is printed for others to read: tables, units, the systemd unit, figures."""

from __future__ import annotations

import configparser
import math

import pytest

from shmlog.cli.output import fit, human_bytes, human_rate, text_table
from shmlog.cli.systemd_unit import systemd_unit
from shmlog.cli.top import HEADERS, LEFT_OUT_FIRST
from shmlog.testing.pacing import Pace, percentile, read_stamp, stamp


def test_numbers_stand_right_and_texts_left() -> None:
    table = text_table(["name", "count"], [["a", 5], ["long", 12345], ["none", None]])
    assert table == "name   count\na          5\nlong  12,345\nnone       -"


def test_a_table_without_rows_has_its_headers() -> None:
    assert text_table(["name", "count"], []) == "name  count"


WIDE_ROW = [
    "flights-0",
    "123456",
    "running",
    "12",
    "3",
    "123,456,789",
    "123.4_k/s",
    "123.4_MiB/s",
    "123,456",
    "3",
    "4.0_MiB",
]


@pytest.mark.parametrize("name", ["f-0", "flights-11", "a-name-that-goes-on-" * 10 + "11"])
@pytest.mark.parametrize("width", [200, 104, 100, 84, 80, 72, 60])
def test_what_top_shows_has_room_and_no_figure_is_cut(width: int, name: str) -> None:
    rows = [[name, *WIDE_ROW[1:]], ["b-1", *("-" for _ in WIDE_ROW[1:])]]
    headers, line, _ = fit(HEADERS, rows, width, LEFT_OUT_FIRST)
    widths = [max(map(len, column)) for column in zip(headers, line, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= width
    assert line[1:] == [dict(zip(HEADERS, WIDE_ROW, strict=True))[header] for header in headers[1:]]
    assert {"end", "records", "lag"} < set(headers)
    assert line[0][-1] == name[-1]


def test_top_shows_every_column_where_there_is_room() -> None:
    assert fit(HEADERS, [WIDE_ROW], 104, LEFT_OUT_FIRST)[0] == list(HEADERS)
    assert fit(HEADERS, [WIDE_ROW], 103, LEFT_OUT_FIRST)[0] == [header for header in HEADERS if header != "ring"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 50, "1024.0 TiB")]
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(("rate", "text"), [(0.4, "0/s"), (950, "950/s"), (12345, "12.3 k/s"), (2.5e6, "2.50 M/s")])
def test_rates_for_people(rate: float, text: str) -> None:
    assert human_rate(rate) == text


@pytest.mark.parametrize("system", [True, False])
def test_the_systemd_unit_is_a_unit_that_notifies(system: bool) -> None:
    text = systemd_unit("orders", "/data/100% mine", ["/disk 1"], "/etc/shmlog.toml", system=system)
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(text)
    service = unit["Service"]
    assert service["type"] == "notify"
    assert int(service["watchdogsec"]) > 0
    assert int(service["tasksmax"]) > 1000
    assert service["removeipc"] == "no"
    assert (
        "up --name orders --data-dir '/data/100%% mine' --log-dir '/disk 1' --config /etc/shmlog.toml"
        in service["execstart"]
    )


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([3.5], 0.999) == 3.5
    assert math.isnan(percentile([], 0.5))


def test_a_sender_that_is_late_keeps_its_schedule() -> None:
    starts = list(Pace(per_second=1000, seconds=0.005).starts(first_ns=0))  # long past: all are late
    assert starts == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_a_stamp_is_read_back() -> None:
    payload = stamp(7, 123456789, 100)
    assert len(payload) == 100
    assert read_stamp(payload) == (7, 123456789)
