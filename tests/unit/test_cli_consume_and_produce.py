"""Formats, start positions and lines: what `shmlog consume` and `shmlog produce` make of their arguments."""

from __future__ import annotations

import io
import time
from typing import Any

import click
import orjson
import pytest

from shmlog.cli import main as cli
from shmlog.cli.escapes import unescape
from shmlog.cli.produce import LineError, closing_producer, send_lines
from shmlog.cli.record_format import compile_format, json_line
from shmlog.cli.start_position import WORDS, Start
from shmlog.errors import BrokerNotAvailableError, OffsetOutOfRangeError, RecordTooLargeError
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.records import Record

RECORD = Record("orders", 2, 41, 1_700_000_000_000, b"k", b"\xffv", (("h", b"x"), ("n", None)))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (r"%v\n", b"\xffv\n"),
        (r"%t-%p:%o\t%k=%v", b"orders-2:41\tk=\xffv"),
        ("%T %K %V %h %%", b"1700000000000 1 2 h=x,n=NULL %"),
        (r"\x41\\", b"A\\"),
    ],
)
def test_a_format_prints_what_its_codes_say(text: str, printed: bytes) -> None:
    assert compile_format(text)(RECORD) == printed


def test_a_null_value_is_printed_as_such() -> None:
    assert compile_format("%k %v %V")(Record("t")) == b"NULL NULL -1"
    assert compile_format(r"%v\n")(Record("t")) == b"NULL\n"


@pytest.mark.parametrize("text", ["%x", "%", r"\q", "\\"])
def test_an_unknown_code_or_escape_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError, match="there is no"):
        compile_format(text)


def test_json_lines_keep_bytes_that_are_no_text() -> None:
    assert orjson.loads(json_line(RECORD)) == {
        "topic": "orders",
        "partition": 2,
        "offset": 41,
        "timestamp_ms": 1_700_000_000_000,
        "key": "k",
        "value": {"base64": "/3Y="},
        "headers": [["h", "x"], ["n", None]],
    }


def test_arguments_that_the_shell_could_not_decode_stay_bytes() -> None:
    assert unescape("\udcff") == b"\xff"


class FakeConsumer:
    """Notes where it was sent to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.calls.append((place.partition, offset))

    def seek_to_end(self, *places: TopicPartition) -> None:
        self.calls.append(("end", *(place.partition for place in places)))

    def seek_to_beginning(self, *places: TopicPartition) -> None:
        self.calls.append(("beginning", *(place.partition for place in places)))

    def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return {place: OffsetAndTimestamp(7, ms) if place.partition == 0 else None for place, ms in times.items()}


RANGES = {TopicPartition("t", 0): Watermarks(5, 50), TopicPartition("t", 1): Watermarks(0, 20)}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("earliest", [("beginning",)]),
        ("latest", [("end",)]),
        ("30", [(0, 30), (1, 20)]),
        ("2", [(0, 5), (1, 2)]),
        ("@1000", [(0, 7), ("end", 1)]),
        ("@2013-01-31T08:00:00+00:00", [(0, 7), ("end", 1)]),
    ],
)
def test_reading_begins_where_it_is_told(text: str, calls: list[tuple[Any, ...]]) -> None:
    consumer: Any = FakeConsumer()
    Start.parse(text).apply(consumer, RANGES)
    assert consumer.calls == calls


def test_an_offset_that_no_partition_has_is_out_of_range() -> None:
    consumer: Any = FakeConsumer()
    with pytest.raises(OffsetOutOfRangeError, match="offset 51 is in none of .* t-0 has 5 to 50, t-1 has 0 to 20"):
        Start.parse("51").apply(consumer, RANGES)


@pytest.mark.parametrize("text", ["-1", "newest", "@yesterday", ""])
def test_a_strange_start_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError, match="--from takes"):
        Start.parse(text)


def test_a_time_without_a_zone_is_local_and_the_help_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-3")  # which is three hours east
    time.tzset()
    try:
        assert Start.parse("@2013-01-31 08:00:00").time_ms == Start.parse("@2013-01-31T05:00:00Z").time_ms
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert "time zone" in WORDS


def test_a_format_for_json_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["consume", "orders", "-o", "json", "-f", "%v"]) == 2
    assert capsys.readouterr().err.startswith("error: --format is for text: -o json prints every field")


class FakeDelivery:
    """`fails`: done with an error; `hangs`: never done."""

    def __init__(self, *, fails: bool, hangs: bool) -> None:
        self.done = not hangs
        self.error = RecordTooLargeError("the owner said no") if fails else None

    def result(self, timeout: float | None = None) -> None:
        if self.error is not None:
            raise self.error


class FakeProducer:
    """Accepts everything but values that begin with x; deliveries of values that begin with y fail later, and those of
    values that begin with z are never done.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, topic: str, value: bytes, key: bytes | None, headers: Any, partition: int | None) -> FakeDelivery:
        if value.startswith(b"x"):
            raise RecordTooLargeError("too large")
        self.sent.append((key, value))
        return FakeDelivery(fails=value.startswith(b"y"), hangs=value.startswith(b"z"))

    def flush(self, timeout: float | None = None) -> None:
        if timeout is not None:
            raise BrokerNotAvailableError("the cluster is shutting down")


def send(content: bytes, separator: bytes | None = None) -> list[tuple[Any, ...]]:
    producer: Any = FakeProducer()
    progress: list[int] = []
    send_lines(producer, "t", io.BytesIO(content), separator, [], None, progress.append)
    assert sum(progress) == len(content)
    return list(producer.sent)


def test_lines_lose_their_end_and_nothing_else() -> None:
    assert send(b"a\r\n\nb ") == [(None, b"a\r"), (None, b""), (None, b"b ")]


def test_a_separator_parts_key_and_value_once() -> None:
    assert send(b"k\tv\tw\n\tv\n", b"\t") == [(b"k", b"v\tw"), (b"", b"v")]


def test_a_line_without_separator_is_named() -> None:
    with pytest.raises(LineError, match=r"line 2 has no key separator ':': .* \(1 other line delivered\)"):
        send(b"k:v\nkv\n", b":")


def test_a_line_that_is_refused_is_named() -> None:
    with pytest.raises(LineError, match=r"line 3 was not sent: too large \(2 other lines delivered\)"):
        send(b"a\nb\nx\n")


def test_a_line_whose_delivery_fails_is_named() -> None:
    with pytest.raises(LineError, match=r"line 2 was not delivered: the owner said no \(2 other lines delivered\)"):
        send(b"a\ny\nc\n")


def test_an_error_accounts_for_every_line_that_was_sent() -> None:
    account = "2 other lines delivered, 1 line failed, 1 line accepted, and not acknowledged yet"
    with pytest.raises(LineError, match=rf"line 5 was not sent: too large \({account}\)"):
        send(b"a\nb\ny\nz\nx\n")


def test_an_error_at_the_end_does_not_take_the_place_of_the_first() -> None:
    class Unclosable(FakeProducer):
        def close(self, timeout: float | None = None) -> None:
            raise BrokerNotAvailableError("the cluster is shutting down")

    producer: Any = Unclosable()
    with pytest.raises(LineError, match="line 7"), closing_producer(producer):
        raise LineError("line 7")
    with pytest.raises(BrokerNotAvailableError), closing_producer(producer):
        pass
