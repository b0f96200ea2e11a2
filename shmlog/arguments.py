"""What users pass in, checked: an argument of a wrong type, or out of its range, is an error that names it.

Called where time does not matter: compiled code looks at the exact type itself and comes here with everything else.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, Final, SupportsFloat

from shmlog.errors import InvalidArgumentError
from shmlog.limits import TIMESTAMP_MS_MAX
from shmlog.model import TopicPartition

LONG_MAX: Final = 2**63 - 1
_TEXTS: Final = (str, bytes, bytearray, memoryview)
_PAIRS: Final = "a sequence of (name, content) pairs, where a name is a str and a content bytes or None"


def refusal(name: str, expected: str, value: object, hint: str = "") -> InvalidArgumentError:
    """The error for an argument `name` that should have been `expected`; `hint` says what to do instead."""
    given = "None" if value is None else f"{shortened(value)} ({type(value).__name__})"
    return InvalidArgumentError(f"{name} must be {expected}, not {given}" + (f"; {hint}" if hint else ""))


def integer(value: object, name: str, minimum: int | None = None, maximum: int = LONG_MAX, *, hint: str = "") -> int:
    """`value` as an int, both bounds allowed; without a minimum any int. What is no integer is never rounded to one."""
    number = _index(value)
    if number is None:
        raise refusal(name, "an integer", value, hint)
    if minimum is not None and not minimum <= number <= maximum:
        raise refusal(name, f"an integer from {minimum} to {maximum}", value, hint)
    return number


def _index(value: object) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # tried out
    except TypeError:
        return None


def timestamp_ms(value: object, name: str = "timestamp_ms") -> int:
    """`value` as a time. Seconds or nanoseconds would be years off, and age decides what retention deletes."""
    number = _index(value)
    if number is None or not 0 <= number <= TIMESTAMP_MS_MAX:
        raise refusal(
            name,
            f"an integer from 0 to {TIMESTAMP_MS_MAX}, milliseconds since 1970",
            value,
            "for now, that is int(1000 * time.time())",
        )
    return number


def seconds(value: object, name: str = "timeout") -> float | None:
    """`value` as a time to wait: None and infinity wait as long as it takes, what is below zero does not wait."""
    if value is None:
        return None
    number = float(value) if isinstance(value, SupportsFloat) and not isinstance(value, bool) else math.nan
    if math.isnan(number):
        raise refusal(name, "a number of seconds or None", value)
    return None if number == math.inf else max(number, 0.0)


def text(value: object, name: str, *, hint: str = "") -> str:
    """`value` if it is a str that can be stored."""
    if not isinstance(value, str):
        raise refusal(name, "a str", value, hint)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise refusal(name, "text that UTF-8 can encode", value) from error
    return value


def texts(value: object, name: str) -> list[str]:
    """`value` as a list of str; one str alone is not taken for its characters."""
    return [text(item, f"each of {name}") for item in sequence(value, name, "a list of str")]


def sequence(value: object, name: str, expected: str = "a sequence") -> Sequence[Any]:
    """`value` as a list or tuple. Text and mappings can be iterated too, but nobody means that."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (*_TEXTS, Mapping)) or not isinstance(value, Iterable):
        raise refusal(name, expected, value)
    return list(value)


def column(value: object, name: str, count: int) -> Sequence[Any] | None:
    """`value` as a sequence of `count`, one for each record; None stays None."""
    if value is None:
        return None
    found = sequence(value, name)
    equally_many(len(found), name, count)
    return found


def equally_many(items: int, name: str, count: int) -> None:
    """Refuse a column of `items` for `count` values."""
    if items != count:
        raise InvalidArgumentError(f"{name} has {items} items for {count} values: give one each, or None for all")


def timestamp_column(value: object, count: int) -> bytes:
    """`value`, an array of integers or of datetime64, or a sequence of int, as `count` native int64 of its own."""
    import numpy as np

    name = "timestamps_ms"
    items = np.asarray(value)
    if items.dtype.kind == "M":
        items = items.astype("datetime64[ms]").view(np.int64)  # NaT is the smallest integer, and refused as such
    if items.ndim != 1 or (items.dtype.kind not in "iu" and items.size):
        raise refusal(name, "an array of integers or of datetime64 in one dimension", value)
    equally_many(len(items), name, count)
    for item in (items.min(), items.max()) if count else ():
        timestamp_ms(item, f"each of {name}")
    return items.astype(np.int64).tobytes()


def mapping(value: object, name: str, expected: str) -> Mapping[Any, Any]:
    """`value` if it is a mapping."""
    if not isinstance(value, Mapping):
        raise refusal(name, expected, value)
    return value


def partition(value: object) -> TopicPartition:
    """`value` as a partition: a TopicPartition, or any pair of a topic's name and a number."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[0], str):
        number = _index(value[1])
        if number is not None:
            return TopicPartition(value[0], number)
    several = isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, tuple) for item in value)
    hint = "several partitions are several arguments: put a * in front" if several else ""
    raise refusal("a partition", "a shmlog.TopicPartition(topic, number)", value, hint)


def partitions(value: object) -> list[TopicPartition]:
    """`value` as a list of partitions; it may be a set, too."""
    expected = "a list of shmlog.TopicPartition"
    if isinstance(value, TopicPartition):
        raise refusal("partitions", expected, value, "put it in brackets")
    return [partition(item) for item in sequence(value, "partitions", expected)]


def header_pair(pair: object, headers: object) -> tuple[str, bytes | None]:
    """One of the pairs that `headers` gives when iterated, its content as bytes."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise _no_headers(headers)
    name, content = pair
    if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
        raise refusal(f"the content of header {shortened(name)}", "bytes or None", content)
    return text(name, "the name of a header"), None if content is None else bytes(content)


def header_pairs(headers: object) -> tuple[tuple[str, bytes | None], ...]:
    """`headers` as a record has them."""
    if not isinstance(headers, Iterable) or isinstance(headers, (*_TEXTS, Mapping)):
        raise _no_headers(headers)
    return tuple(header_pair(pair, headers) for pair in headers)


def _no_headers(headers: object) -> InvalidArgumentError:
    hint = ""
    if isinstance(headers, Mapping):
        hint = "of a dict these are list(headers.items())"
    elif isinstance(headers, tuple) and len(headers) == 2:
        hint = "one header is a sequence, too: [(name, content)]"
    return refusal("headers", _PAIRS, headers, hint)
