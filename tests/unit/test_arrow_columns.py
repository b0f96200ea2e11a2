"""Arrow arrays as columns that are sent. What is sent out of them and what comes back are bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from shmlog.errors import InvalidArgumentError
from shmlog.testing.partition_rig import TOPIC_NAME, Rig

pa = pytest.importorskip("pyarrow")

Items = Sequence[bytes | None]
ITEMS = [b"a", None, b"", None, None, b"b" * 200, None, b"c\0", None, b"\0d"]

FORMS: dict[str, Callable[[Items], object]] = {
    "binary": lambda items: pa.array(items, pa.binary()),
    "large binary": lambda items: pa.array(items, pa.large_binary()),
    "binary view": lambda items: pa.array(items, pa.binary_view()),
    "a slice": lambda items: pa.array([b"before", None, *items, b"after"], pa.binary())[2:-1],
    "a slice of large binary": lambda items: pa.array([b"before", *items, None], pa.large_binary())[1:-1],
    "chunks": lambda items: pa.chunked_array([items[:3], items[3:]], pa.binary()),
    "one chunk": lambda items: pa.chunked_array([items], pa.binary()),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_and_keys_arrive_as_they_were_and_nulls_are_null(rig: Rig, form: str) -> None:
    rig.lane().send_columns(TOPIC_NAME, FORMS[form](ITEMS), keys=FORMS[form](ITEMS[::-1]))
    rig.run()
    assert [(record.value, record.key) for record in rig.read_all()] == list(zip(ITEMS, ITEMS[::-1], strict=True))


def test_strings_arrive_as_utf8(rig: Rig) -> None:
    rig.lane().send_columns(TOPIC_NAME, pa.array(["é", None]), keys=pa.array(["k", "ü"], pa.large_string()))
    rig.run()
    assert [(record.value, record.key) for record in rig.read_all()] == [("é".encode(), b"k"), (None, "ü".encode())]


def test_items_of_a_fixed_size_are_cut_out_of_their_rows(rig: Rig) -> None:
    rig.lane().send_columns(TOPIC_NAME, pa.array([b"abc", None, b"\0\0\0"], pa.binary(3))[1:])
    rig.run()
    assert rig.values() == [None, b"\0\0\0"]


@pytest.mark.parametrize(
    "nothing", [pa.array([], pa.binary()), pa.array([], pa.binary(3)), pa.array([None], pa.binary())]
)
def test_arrays_without_content_are_columns_too(rig: Rig, nothing: object) -> None:
    rig.lane().send_columns(TOPIC_NAME, nothing)
    rig.run()
    assert rig.values() == [None] * len(nothing)  # type: ignore[arg-type]  # it is an array


def test_an_array_of_anything_else_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match="this is an Arrow array of int64"):
        rig.lane().send_columns(TOPIC_NAME, pa.array([1, 2]))
