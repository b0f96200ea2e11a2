"""Options by which a command finds its cluster and its topic, and the connection itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shmlog.errors import ShmlogError, UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from shmlog import Cluster, TopicInfo

Command = TypeVar("Command", bound=Callable[..., Any])

COMPLETION_TIMEOUT_S = 0.5


def cluster_option(command: Command) -> Command:
    """Adds -n/--name; the command gets `name`, None for the default."""
    return click.option("-n", "--name", metavar="NAME", help="The cluster. Default: $SHMLOG_CLUSTER, else 'default'.")(
        command
    )


def topic_argument(command: Command) -> Command:
    """Adds TOPIC, with completion from the running cluster."""
    return click.argument("topic", shell_complete=complete_topic)(command)


def connect(name: str | None) -> Cluster:
    """The running cluster of that name. Raises NoClusterError, which says how to start one."""
    import shmlog

    return shmlog.connect(name)


def require_partition(topic: TopicInfo, number: int) -> None:
    """Raise UnknownTopicOrPartitionError, which says what there is, if the topic has no such partition."""
    count = len(topic.partitions)
    if not 0 <= number < count:
        raise UnknownTopicOrPartitionError(
            f"topic {topic.name!r} has no partition {number}; it has {count}: 0 to {count - 1}"
        )


def complete_topic(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Topics that begin with what was typed; none if no cluster answers at once."""
    from click.shell_completion import CompletionItem

    import shmlog

    try:
        with shmlog.connect(context.params.get("name"), timeout=COMPLETION_TIMEOUT_S) as cluster:
            return [CompletionItem(topic) for topic in cluster.admin.list_topics() if topic.startswith(incomplete)]
    except (ShmlogError, OSError):
        return []


def complete_partition(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Partitions, as orders-0, that begin with what was typed; none if no cluster answers at once."""
    from click.shell_completion import CompletionItem

    import shmlog

    try:
        with shmlog.connect(context.params.get("name"), timeout=COMPLETION_TIMEOUT_S) as cluster:
            topics = cluster.admin.describe_topics()
    except (ShmlogError, OSError):
        return []
    names = [f"{topic.name}-{one.partition}" for topic in topics for one in topic.partitions]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def parse_settings(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    """`("retention.ms=1000",)` as a dictionary; usage error for what is not KEY=VALUE."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} takes KEY=VALUE, such as retention.ms=86400000, not {pair!r}")
        settings[key.strip()] = value.strip()
    return settings
