"""What a consumer in a group was told: its settings and callbacks, and what it is subscribed to."""

from __future__ import annotations

import inspect
import os
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from shmlog import arguments
from shmlog.errors import (
    InvalidArgumentError,
    InvalidConfigError,
    InvalidGroupIdError,
    InvalidRegularExpressionError,
    InvalidRequestError,
)
from shmlog.machines.group.assignor import Assignor
from shmlog.machines.group.topics import pattern_error
from shmlog.machines.log_names import check_topic_name
from shmlog.model import TopicPartition

if TYPE_CHECKING:
    from shmlog.client.consumer_api import Consumer

RebalanceCallback = Callable[["Consumer", Sequence[TopicPartition]], None]
"""(consumer, partitions): called in the thread that polls, between records."""

CALLBACKS: Final = ("on_assign", "on_revoke", "on_lost")
CUSTOM: Final = "custom:"
SEVERAL: Final = "several topics are several arguments, or one list, and of single partitions one may assign() some"


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a member calls when its partitions change. Without `on_lost`, `on_revoke` is called for lost ones, too."""

    on_assign: RebalanceCallback | None = None
    on_revoke: RebalanceCallback | None = None
    on_lost: RebalanceCallback | None = None


def named_topics(given: Sequence[object]) -> Sequence[object]:
    """The topics of a call, each of them an argument, or all of them in one list."""
    first = given[0] if len(given) == 1 else None
    if isinstance(first, list | tuple | set | frozenset) and not isinstance(first, TopicPartition):
        return list(first)
    return given


@dataclass(frozen=True, slots=True)
class Topics:
    """What a consumer is subscribed to: topics by name, or all whose whole names a regular expression matches."""

    names: tuple[str, ...] = ()
    pattern: str | None = None

    @classmethod
    def parse(cls, given: Sequence[object]) -> Topics:
        """Names; one that begins with ^ is a pattern, and stands alone."""
        names = [arguments.text(topic, "a topic", hint=SEVERAL) for topic in given]
        patterns = [name for name in names if name.startswith("^")]
        if not patterns:
            for name in names:
                check_topic_name(name)
            return cls(tuple(dict.fromkeys(names)))
        if len(names) > 1:
            raise InvalidRequestError(
                f"{patterns[0]!r} is a pattern, because it begins with ^, and stands alone: join several with |"
            )
        problem = pattern_error(patterns[0])
        if problem is not None:
            raise InvalidRegularExpressionError(f"the pattern {reprlib.repr(patterns[0])} does not compile: {problem}")
        return cls(pattern=patterns[0])

    @property
    def words(self) -> set[str]:
        """As they were given."""
        return set(self.names) if self.pattern is None else {self.pattern}

    def __bool__(self) -> bool:
        return bool(self.names) or self.pattern is not None


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """The settings of one member. `function`: its own assignor, if it has one."""

    group: str
    instance_id: str | None
    client_name: str
    assignor: str
    function: Assignor | None
    auto_commit: bool
    auto_commit_interval_s: float
    max_poll_interval_ms: int
    session_timeout_ms: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> GroupOptions | None:
        """From the parsed settings of a consumer; None without group.id."""
        group, instance_id = config["group.id"], config["group.instance.id"]
        if group is None:
            if instance_id is not None:
                raise InvalidConfigError("group.instance.id is the name of a member of a group: give group.id, too")
            return None
        if not group:
            raise InvalidGroupIdError("group.id must not be empty: leave it out for a consumer that is in no group")
        if instance_id == "":
            raise InvalidConfigError(
                "group.instance.id must not be empty: leave it out for a member without such a name"
            )
        strategy = config["partition.assignment.strategy"]
        return cls(
            group=group,
            instance_id=instance_id,
            client_name=os.path.basename(sys.argv[0]).encode(errors="replace").decode() or "python",
            assignor=strategy if isinstance(strategy, str) else CUSTOM + _name_of(strategy),
            function=None if isinstance(strategy, str) else cast(Assignor, strategy),
            auto_commit=config["enable.auto.commit"],
            auto_commit_interval_s=config["auto.commit.interval.ms"] / 1000,
            max_poll_interval_ms=config["max.poll.interval.ms"],
            session_timeout_ms=config["session.timeout.ms"],
        )


def take_callbacks(given: dict[str, object]) -> Callbacks:
    """The callbacks among keyword arguments, which are taken out of them."""
    return checked_callbacks(**{name: given.pop(name) for name in CALLBACKS if name in given})


def checked_callbacks(**found: object) -> Callbacks:
    """As a user gave them."""
    for name, callback in found.items():
        if callback is not None and not callable(callback):
            raise arguments.refusal(name, "a callable (consumer, partitions), or None", callback)
        if inspect.iscoroutinefunction(callback):
            hint = "it is called between records, and nobody would await it"
            raise arguments.refusal(name, "a plain function, not an async one", callback, hint)
    return Callbacks(**cast(dict[str, RebalanceCallback | None], found))


def _name_of(function: Callable[..., object]) -> str:
    """What the other members know it by: the same function in another process has the same name."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if "<lambda>" in name:
        raise InvalidArgumentError(
            "partition_assignment_strategy must be a function with a name, which tells the members of a group that all"
            " of them have the same one: a lambda has none"
        )
    return name
