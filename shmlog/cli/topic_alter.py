"""`shmlog topic alter`: settings and partitions of a topic, while it is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect, parse_settings, topic_argument
from shmlog.cli.output import count_of, output_option, print_json

if TYPE_CHECKING:
    from shmlog import ConfigChange, TopicInfo


@click.command(
    epilog="""\b
Examples:
  shmlog topic alter orders --config retention.ms=3600000 --unset segment.bytes
  shmlog topic alter orders --append cleanup.policy=compact
  shmlog topic alter orders --partitions 12
"""
)
@topic_argument
@click.option("-c", "--config", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
@click.option("--unset", multiple=True, metavar="KEY", help="Back to the cluster's value or the default.")
@click.option("--append", multiple=True, metavar="KEY=VALUE", help="Add to a list, such as cleanup.policy.")
@click.option("--subtract", multiple=True, metavar="KEY=VALUE", help="Take from a list.")
@click.option("-p", "--partitions", type=int, help="Raise the number of partitions to this; keys may move.")
@cluster_option
@output_option
def alter(
    topic: str,
    config: tuple[str, ...],
    unset: tuple[str, ...],
    append: tuple[str, ...],
    subtract: tuple[str, ...],
    partitions: int | None,
    name: str | None,
    output: str,
) -> None:
    """Change settings of TOPIC, or add partitions. Partitions that run use the new settings at once.

    `shmlog config list` shows which settings there are.
    """
    changes = _changes(config, unset, append, subtract)
    if not changes and partitions is None:
        raise click.UsageError("nothing to change: give --config, --unset, --append, --subtract or --partitions")
    with connect(name) as cluster:
        changed = cluster.admin.alter_configs(topic, changes)
        if partitions is not None:
            changed = cluster.admin.create_partitions(topic, partitions)
    _print(changed, output)


def _changes(
    config: tuple[str, ...], unset: tuple[str, ...], append: tuple[str, ...], subtract: tuple[str, ...]
) -> list[ConfigChange]:
    from shmlog import ConfigChange

    return [
        *(ConfigChange("set", key, value) for key, value in parse_settings(config, "--config").items()),
        *(ConfigChange("delete", key) for key in unset),
        *(ConfigChange("append", key, value) for key, value in parse_settings(append, "--append").items()),
        *(ConfigChange("subtract", key, value) for key, value in parse_settings(subtract, "--subtract").items()),
    ]


def _print(changed: TopicInfo, output: str) -> None:
    if output == "json":
        print_json(topic_json(changed))
    else:
        overrides = ", ".join(f"{key}={value}" for key, value in sorted(changed.config.items())) or "all defaults"
        click.echo(f"altered {changed.name}: {count_of(len(changed.partitions), 'partition')}, {overrides}")
    if changed.warning:
        click.echo(f"warning: {changed.warning}", err=True)


def topic_json(info: TopicInfo) -> dict[str, object]:
    """What commands about topics print with -o json."""
    return {
        "name": info.name,
        "topic_id": info.topic_id,
        "internal": info.internal,
        "config": info.config,
        "effective_config": info.effective_config,
        "configs": [
            {
                "name": entry.name,
                "value": entry.value,
                "origin": entry.origin.value,
                "kafka_origin": entry.origin.kafka_name,
            }
            for entry in info.configs.values()
        ],
        "partitions": [
            {"partition": p.partition, "state": p.state, "pid": p.pid or None, "epoch": p.leader_epoch}
            for p in info.partitions
        ],
    }
