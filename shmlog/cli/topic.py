"""`shmlog topic`: what `cluster.admin` can do, from the shell."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from shmlog.cli.attach import cluster_option, connect, parse_settings, topic_argument
from shmlog.cli.output import count_of, output_option, print_json, print_rows, text_table
from shmlog.cli.replicas import in_sync, replicas, under_min_isr
from shmlog.cli.topic_alter import alter, topic_json
from shmlog.cli.topic_delete_records import delete_records
from shmlog.cli.topic_export import export
from shmlog.cli.topic_import import import_


@click.group()
def topic() -> None:
    """Create, list, describe, alter, export, import and delete topics."""


for verb in (alter, delete_records, export, import_):
    topic.add_command(verb)


@topic.command(
    epilog="""\b
Examples:
  shmlog topic create orders --partitions 6
  shmlog topic create clicks -p 2 -c retention.ms=86400000 -c max.message.bytes=262144
"""
)
@topic_argument
@click.option("-p", "--partitions", type=int, help="Default: the cluster's num.partitions.")
@click.option("--replication-factor", type=int, help="Default: the cluster's default.replication.factor.")
@click.option("-c", "--config", multiple=True, metavar="KEY=VALUE", help="A topic setting; may be repeated.")
@cluster_option
@output_option
def create(
    topic: str,
    partitions: int | None,
    replication_factor: int | None,
    config: tuple[str, ...],
    name: str | None,
    output: str,
) -> None:
    """Create TOPIC and wait until its partitions run."""
    settings = parse_settings(config, "--config")
    with connect(name) as cluster:
        made = cluster.admin.create_topic(topic, partitions, replication_factor, settings)
    if output == "json":
        print_json(topic_json(made))
    else:
        click.echo(f"created {made.name}: {count_of(len(made.partitions), 'partition')}")
    if made.warning:
        click.echo(f"warning: {made.warning}", err=True)


@topic.command(
    "list",
    epilog="""\b
Examples:
  shmlog topic list
  shmlog topic list -o json | jq -r '.[].topic'
""",
)
@click.option("--internal", is_flag=True, help="Also the cluster's own topics.")
@cluster_option
@output_option
def list_topics(internal: bool, name: str | None, output: str) -> None:
    """List the topics."""
    with connect(name) as cluster:
        topics = cluster.admin.describe_topics(cluster.admin.list_topics(internal=internal))
        metrics = cluster.metrics()
    rows: list[dict[str, object]] = [
        {
            "topic": found.name,
            "partitions": len(found.partitions),
            "records": sum(
                counters["high_watermark"] - counters["log_start_offset"]
                for place, counters in metrics.items()
                if place.topic == found.name
            ),
            "config": ", ".join(f"{key}={value}" for key, value in sorted(found.config.items())),
        }
        for found in topics
    ]
    empty = "no topics yet; make one with: shmlog topic create NAME"
    print_rows(output, rows, ["topic", "partitions", "records", "config"], empty=empty)


@topic.command(
    short_help="Show TOPIC's settings and partitions.",
    epilog="""\b
Examples:
  shmlog topic describe orders
  shmlog topic describe orders --all-settings
  shmlog topic describe orders -o json | jq -r '.partitions[].directory'
""",
)
@topic_argument
@click.option("--all-settings", is_flag=True, help="Also the settings that are at their defaults.")
@cluster_option
@output_option
def describe(topic: str, all_settings: bool, name: str | None, output: str) -> None:
    """Show TOPIC's settings and partitions, and what recoveries found damaged in them.

    Each setting's origin: set for the topic, by the cluster ([topic-defaults]), or the default.
    """
    with connect(name) as cluster:
        found = cluster.admin.describe_topic(topic)
        metrics = cluster.metrics()
        damage = [one for one in cluster.describe().damage if one.topic == topic]
    partitions = []
    for partition in found.partitions:
        counters = next(
            (c for place, c in metrics.items() if place == (found.name, partition.partition)), dict[str, int]()
        )
        partitions.append(
            {
                "partition": partition.partition,
                "state": partition.state,
                "pid": partition.pid or None,
                "epoch": partition.leader_epoch,
                "start": counters.get("log_start_offset"),
                "end": counters.get("high_watermark"),
                "in sync": in_sync(partition) + (" (UnderMinIsr)" if partition.under_min_isr else ""),
                "directory": partition.log_dir,
            }
        )
    copies = replicas(found, {row["partition"]: row["end"] for row in partitions})
    if output == "json":
        damages = [asdict(one) for one in damage]
        print_json({**topic_json(found), "damage": damages, "partitions": partitions, "replicas": copies})
        return
    click.echo(f"topic {found.name}, id {found.topic_id}")
    entries = [one for one in found.configs.values() if all_settings or one.origin.value != "default"]
    if entries:
        lines = [[one.name, str(one.value), one.origin.value] for one in entries]
        click.echo(text_table(["setting", "value", "origin"], lines))
    table = [[str(value) if name == "pid" and value else value for name, value in row.items()] for row in partitions]
    click.echo(text_table(list(partitions[0]), table))
    if len(copies) > len(partitions):
        rows = [[str(value) if name == "pid" and value else value for name, value in row.items()] for row in copies]
        click.echo(text_table(list(copies[0]), rows))
    for sentence in under_min_isr([found]):
        click.echo(sentence, err=True)
    for partition in found.partitions:
        for replica in partition.replicas:
            if replica.error and not replica.leads:
                where = f"{found.name}-{partition.partition}, replica {replica.replica_id}"
                click.echo(f"{where}: {replica.error}", err=True)
        if partition.error:
            click.echo(f"{found.name}-{partition.partition}: {partition.error}", err=True)
    if found.warning:
        click.echo(f"warning: {found.warning}", err=True)
    for one in damage:
        click.echo(f"damage: {one.message}", err=True)


@topic.command(
    epilog="""\b
Examples:
  shmlog topic delete clicks --dry-run
  shmlog topic delete clicks --yes
"""
)
@topic_argument
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@cluster_option
def delete(topic: str, dry_run: bool, yes: bool, name: str | None) -> None:
    """Delete TOPIC with all its records. Asks first; where there is no terminal to ask on, --yes is needed."""
    with connect(name) as cluster:
        found = cluster.admin.describe_topic(topic)
        records = sum(
            counters["high_watermark"] - counters["log_start_offset"]
            for place, counters in cluster.metrics().items()
            if place.topic == topic
        )
        what = f"{found.name}: {count_of(len(found.partitions), 'partition')}, {count_of(records, 'record')}"
        if dry_run:
            click.echo(f"would delete {what}")
            return
        if not yes:
            if sys.stdin is None or not sys.stdin.isatty():
                raise click.UsageError(f"{what}: to delete it without a terminal to ask on, give --yes")
            click.confirm(f"delete {what}?", abort=True)
        cluster.admin.delete_topic(topic)
    click.echo(f"deleted {what}")
