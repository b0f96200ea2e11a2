"""`shmlog group`: what `cluster.admin` knows of consumer groups, from the shell."""

from __future__ import annotations

import contextlib
import sys

import click

from shmlog.cli.attach import cluster_option, connect
from shmlog.cli.group.describe import describe
from shmlog.cli.group.lag import LagMeter, total
from shmlog.cli.group.places import chosen_places, complete_group, group_argument, topic_option
from shmlog.cli.group.reset_offsets import reset_offsets
from shmlog.cli.output import count_of, output_option, print_rows, printable
from shmlog.errors import NonEmptyGroupError


@click.group()
def group() -> None:
    """Consumer groups: who reads what, how far behind, and where they go on."""


for verb in (describe, reset_offsets):
    group.add_command(verb)


@group.command(
    "list",
    epilog="""\b
Examples:
  shmlog group list
  shmlog group list -o json | jq -r '.[] | select(.lag > 1000) | .group'
""",
)
@cluster_option
@output_option
def list_groups(name: str | None, output: str) -> None:
    """List the groups and their lag."""
    rows: list[dict[str, object]] = []
    with connect(name) as cluster, contextlib.closing(LagMeter(cluster)) as meter:
        for found in cluster.admin.describe_consumer_groups():
            lag, lag_seconds = total(meter.measure(found))
            rows.append(
                {
                    "group": found.group_id,
                    "state": found.state,
                    "assignor": found.assignor or None,
                    "members": len(found.members),
                    "partitions": len(found.offsets),
                    "lag": lag,
                    "lag_seconds": round(lag_seconds, 3),
                }
            )
    columns = ["group", "state", "assignor", "members", "partitions", "lag", "lag_seconds"]
    empty = "no consumer groups yet; consumers that are made with group_id=... join one"
    print_rows(output, rows, columns, empty=empty)


@group.command(
    epilog="""\b
Examples:
  shmlog group members delays
  shmlog group members delays -o json | jq '.[].pid'
"""
)
@group_argument
@cluster_option
@output_option
def members(group: str, name: str | None, output: str) -> None:
    """Show the members of GROUP.

    Their processes, their partitions, and when they last asked for records. `moving` counts partitions that a
    member still has to give up or waits for.
    """
    with connect(name) as cluster:
        (found,) = cluster.admin.describe_consumer_groups([group])
    rows: list[dict[str, object]] = [
        {
            "member": one.member_id,
            "instance": one.group_instance_id,
            "client": one.client_name or str(one.client_id),
            "pid": str(one.pid) if output == "table" and one.pid else one.pid or None,
            "epoch": one.epoch,
            "state": one.state.replace("_", " "),
            "partitions": len(one.assignment),
            "moving": len({*one.assignment} ^ {*one.target}),
            "polled_s_ago": None if one.polled_ms_ago is None else one.polled_ms_ago / 1000,
            "assignment": " ".join(map(str, one.assignment)) if output == "table" else list(map(str, one.assignment)),
            "target": list(map(str, one.target)),
            "subscription": one.pattern or list(one.topics),
        }
        for one in found.members
    ]
    columns = ["member", "instance", "client", "pid", "epoch", "state", "partitions", "moving", "polled_s_ago"]
    print_rows(output, rows, [*columns, "assignment"], empty=f"group {printable(group)} has no members")


@group.command(
    epilog="""\b
Examples:
  shmlog group delete delays --dry-run
  shmlog group delete delays nightly --yes
"""
)
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...", shell_complete=complete_group)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@cluster_option
def delete(groups: tuple[str, ...], dry_run: bool, yes: bool, name: str | None) -> None:
    """Delete groups and what they have committed.

    A group with members is not deleted. Asks first; where there is no terminal to ask on, --yes is needed.
    """
    with connect(name) as cluster:
        for found in cluster.admin.describe_consumer_groups(list(dict.fromkeys(groups))):
            if found.members:
                raise NonEmptyGroupError(
                    f"group {found.group_id!r} has {count_of(len(found.members), 'member')}: stop them first, see"
                    f" `shmlog group members {found.group_id}`"
                )
            what = f"{printable(found.group_id)}: {count_of(len(found.offsets), 'committed offset')}"
            if not dry_run:
                _confirm(what, yes)
                cluster.admin.delete_consumer_groups([found.group_id])
            click.echo(f"{'would delete' if dry_run else 'deleted'} {what}")


@group.command(
    "delete-offsets",
    epilog="""\b
Examples:
  shmlog group delete-offsets delays --topic flights:3
  shmlog group delete-offsets delays --topic flights --dry-run
""",
)
@group_argument
@topic_option
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@cluster_option
@output_option
def delete_offsets(
    group: str, topics: tuple[str, ...], dry_run: bool, yes: bool, name: str | None, output: str
) -> None:
    """Forget what GROUP has committed of a topic.

    None of its members may read that. Whoever reads it in this group next begins as its auto.offset.reset says.
    Asks first; where there is no terminal to ask on, --yes is needed.
    """
    with connect(name) as cluster:
        committed = cluster.admin.list_consumer_group_offsets(group)
        wanted = chosen_places(cluster, topics) if topics else list(committed)
        places = [place for place in wanted if place in committed]
        rows: list[dict[str, object]] = [
            {"topic": place.topic, "partition": place.partition, "committed": committed[place].offset}
            for place in places
        ]
        what = f"{count_of(len(rows), 'committed offset')} of {printable(group)}"
        if rows and not dry_run:
            _confirm(what, yes)
            cluster.admin.delete_consumer_group_offsets(group, places)
        print_rows(output, rows, ["topic", "partition", "committed"], empty="nothing is committed there")
        if rows and dry_run:
            cluster.admin.delete_consumer_group_offsets(group, places, validate_only=True)
    if output != "json":
        click.echo(f"{'would delete' if dry_run else 'deleted'} {what}", err=True)


def _confirm(what: str, yes: bool) -> None:
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(f"{what}: to delete it without a terminal to ask on, give --yes")
    click.confirm(f"delete {what}?", abort=True)
