"""Groups and partitions as they are written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shmlog.cli.attach import COMPLETION_TIMEOUT_S, require_partition
from shmlog.errors import ShmlogError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from shmlog import Cluster, TopicPartition

Command = TypeVar("Command", bound=Callable[..., Any])


def group_argument(command: Command) -> Command:
    """Adds GROUP, with completion from the running cluster."""
    return click.argument("group", shell_complete=complete_group)(command)


def topic_option(command: Command) -> Command:
    """Adds --topic; the command gets `topics`, TOPIC or TOPIC:PARTITION each."""
    return click.option(
        "--topic",
        "topics",
        multiple=True,
        metavar="TOPIC[:PARTITION]",
        shell_complete=complete_place,
        help="Only this topic, or this partition of it; may be repeated. Default: all with a committed offset.",
    )(command)


def chosen_places(cluster: Cluster, topics: Iterable[str]) -> list[TopicPartition]:
    """The partitions that --topic names, in order. Raises UnknownTopicOrPartitionError."""
    from shmlog import TopicPartition

    found: set[TopicPartition] = set()
    for text in topics:
        topic, colon, number = text.rpartition(":")  # no topic has a colon in its name
        if colon and not number.isdecimal():
            raise click.UsageError(f"--topic takes TOPIC or TOPIC:PARTITION, such as orders:0, not {text!r}")
        described = cluster.admin.describe_topic(topic if colon else text)
        if colon:
            require_partition(described, int(number))
        numbers = [int(number)] if colon else range(len(described.partitions))
        found.update(TopicPartition(described.name, one) for one in numbers)
    return sorted(found)


def complete_group(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Groups that begin with what was typed; none if no cluster answers at once."""
    return _complete(
        context, incomplete, lambda cluster: [one.group_id for one in cluster.admin.list_consumer_groups()]
    )


def complete_place(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Topics, and behind a colon their partitions."""

    def known(cluster: Cluster) -> list[str]:
        if ":" not in incomplete:
            return cluster.admin.list_topics()
        topic = cluster.admin.describe_topic(incomplete.rpartition(":")[0])
        return [f"{topic.name}:{one.partition}" for one in topic.partitions]

    return _complete(context, incomplete, known)


def _complete(context: click.Context, incomplete: str, known: Callable[[Cluster], list[str]]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    import shmlog

    try:
        with shmlog.connect(context.params.get("name"), timeout=COMPLETION_TIMEOUT_S) as cluster:
            return [CompletionItem(one) for one in known(cluster) if one.startswith(incomplete)]
    except (ShmlogError, OSError):
        return []
