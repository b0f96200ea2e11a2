"""One setting: its kind, its range, and how text or a value becomes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shmlog.errors import InvalidConfigError

LONG_MAX: Final = 2**63 - 1
INT_MAX: Final = 2**31 - 1

Kind = Literal[
    "int",
    "bool",
    "text",
    "paths",
    "choice",
    "policies",
    "ratio",
    "mode",
    "acks",
    "serializer",
    "partitioner",
    "assignor",
]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `minimum` and `maximum` (both allowed) are for kind "int"; `choices` for "choice" and "policies"."""

    name: str
    kind: Kind
    default: Any
    doc: str
    minimum: int = 0
    maximum: int = LONG_MAX
    choices: tuple[str, ...] = ()
    takes_effect: str = "at once"
    """When a change of a topic's setting does in a partition that runs."""

    @property
    def is_list(self) -> bool:
        """Whether values can be appended to it and subtracted from it."""
        return self.kind in ("policies", "paths")

    @property
    def attribute(self) -> str:
        """The name as a keyword argument."""
        return self.name.replace(".", "_")

    @property
    def allowed(self) -> str:
        """What values there are, in words."""
        words = {
            "int": f"an integer from {self.minimum} to {self.maximum}",
            "bool": "true or false",
            "text": "text",
            "paths": "paths, separated by commas or as a list",
            "choice": "one of " + ", ".join(self.choices),
            "policies": "one or more of " + ", ".join(self.choices) + ", separated by commas or as a list",
            "ratio": "a number from 0 to 1",
            "mode": 'file permissions in octal such as "600" or "660"',
            "acks": "all, 0 or 1",
            "serializer": '"str", "json" or a callable',
            "partitioner": '"murmur2" or a callable (topic, key, partitions) -> partition',
            "assignor": "one of " + ", ".join(self.choices) + ", or a callable (members, partitions) -> assignment",
        }
        return words[self.kind]

    def parse(self, value: object) -> Any:
        """`value` (text, or already of the right type) as this setting's type; InvalidConfigError names the range."""
        try:
            return _PARSERS[self.kind](self, value)
        except (ValueError, TypeError):
            raise InvalidConfigError(f"{self.name} must be {self.allowed}, not {value!r}") from None


def _parse_int(setting: Setting, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    number = int(value)
    if not setting.minimum <= number <= setting.maximum:
        raise ValueError
    return number


def _parse_bool(_: Setting, value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    return word == "true" if word in ("true", "false") else _refuse()


def _refuse() -> Any:
    raise ValueError


def _parse_text(_: Setting, value: object) -> str:
    text: str = value if isinstance(value, str) else _refuse()
    text.encode()  # a ValueError for what UTF-8 does not have
    return text


def _parse_paths(_: Setting, value: object) -> tuple[str, ...]:
    """Text is split as Kafka does; the paths of a list may have commas."""
    if isinstance(value, str):
        return tuple(path for part in value.split(",") if (path := part.strip()))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return tuple(_path(one) for one in value)
    return (_path(value),)


def _path(value: object) -> str:
    found = value.__fspath__() if hasattr(value, "__fspath__") else value
    return found if isinstance(found, str) and found else _refuse()


def _parse_choice(setting: Setting, value: object) -> str:
    return str(value) if value in setting.choices else _refuse()


def _parse_policies(setting: Setting, value: object) -> tuple[str, ...]:
    """In the order of `choices`, each once: two ways to write the same thing are the same value."""
    if not isinstance(value, (str, Sequence)) or isinstance(value, bytes):
        raise TypeError
    given = {part.strip() for part in value.split(",")} if isinstance(value, str) else set(value)
    return tuple(one for one in setting.choices if one in given) if given and given <= {*setting.choices} else _refuse()


def _parse_ratio(_: Setting, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    number = float(value)
    return number if 0 <= number <= 1 else _refuse()  # not a number compares as False


def _parse_mode(_: Setting, value: object) -> int:
    """Text is octal. A number is taken as it stands (0o660), else by its digits (660): no number is right both ways."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    as_it_stands = int(value, 8) if isinstance(value, str) else value
    return as_it_stands if _is_mode(as_it_stands) else _by_its_digits(value)


def _by_its_digits(value: int | str) -> int:
    mode = int(str(value), 8)
    return mode if _is_mode(mode) else _refuse()


def _is_mode(number: int) -> bool:
    return number & ~0o666 == 0 and number & 0o600 == 0o600


def _parse_acks(_: Setting, value: object) -> int:
    numbers = {"all": -1, "-1": -1, "0": 0, "1": 1}
    return _refuse() if isinstance(value, bool) or str(value) not in numbers else numbers[str(value)]


def _parse_function(setting: Setting, value: object) -> Any:
    names = ("str", "json") if setting.kind == "serializer" else ("murmur2",)
    return value if value is None or callable(value) or value in names else _refuse()


def _parse_assignor(setting: Setting, value: object) -> Any:
    return value if callable(value) else _parse_choice(setting, value)


_PARSERS: dict[Kind, Callable[[Setting, object], Any]] = {
    "int": _parse_int,
    "bool": _parse_bool,
    "text": _parse_text,
    "paths": _parse_paths,
    "choice": _parse_choice,
    "policies": _parse_policies,
    "ratio": _parse_ratio,
    "mode": _parse_mode,
    "acks": _parse_acks,
    "serializer": _parse_function,
    "partitioner": _parse_function,
    "assignor": _parse_assignor,
}
