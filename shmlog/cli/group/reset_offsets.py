"""`shmlog group reset-offsets`: have a group go on somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from shmlog.cli.attach import cluster_option, connect
from shmlog.cli.group.places import chosen_places, group_argument, topic_option
from shmlog.cli.group.targets import Target
from shmlog.cli.output import count_of, output_option, print_rows, printable
from shmlog.errors import NonEmptyGroupError, UnknownGroupError

if TYPE_CHECKING:
    from shmlog import Cluster, TopicPartition
    from shmlog.client.group_results import ConsumerGroupDescription


@click.command(
    "reset-offsets",
    epilog="""\b
Examples:
  shmlog group reset-offsets delays --to earliest --dry-run
  shmlog group reset-offsets delays --to @2013-01-31T08:00:00+00:00
  shmlog group reset-offsets delays --to -1000 --topic flights:3
  shmlog group reset-offsets nightly --to latest --topic flights --topic planes
""",
)
@group_argument
@click.option(
    "--to",
    required=True,
    metavar="earliest|latest|OFFSET|@TIMESTAMP|+N|-N",
    help="An offset, the first record of that time or later, or N records on or back from what is committed.",
)
@topic_option
@click.option("--dry-run", is_flag=True, help="Only say where it would go on.")
@cluster_option
@output_option
def reset_offsets(group: str, to: str, topics: tuple[str, ...], dry_run: bool, name: str | None, output: str) -> None:
    """Set where GROUP goes on in the log.

    In all partitions or in none; it must not have members. What is not in a partition any more, or not yet, becomes
    its first or its last offset. With --topic the group may be a new one. With --dry-run the plan is shown also of a
    group that has members, and then why it would be refused: exit code 1, as without it.
    """
    target = Target.parse(to)
    with connect(name) as cluster:
        known = _known(cluster, group, may_be_new=bool(topics))
        if known is not None and known.members and not dry_run:
            raise _has_members(known)
        committed = {} if known is None else {place: one.offset for place, one in known.offsets.items()}
        wanted = chosen_places(cluster, topics) if topics else sorted(committed)
        with cluster.consumer() as consumer:
            consumer.assign(wanted)
            ranges = {place: consumer.watermarks(place) for place in wanted}
        offsets = target.offsets(cluster, ranges, committed) if ranges else {}
        if offsets and not dry_run:
            cluster.admin.alter_consumer_group_offsets(group, dict(offsets))
    _say(group, committed, offsets, dry_run=dry_run, output=output)
    if known is not None and known.members:
        raise _has_members(known)


def _has_members(group: ConsumerGroupDescription) -> NonEmptyGroupError:
    return NonEmptyGroupError(
        f"group {group.group_id!r} has {count_of(len(group.members), 'member')}, which would go on where they are: stop"
        f" them first, see `shmlog group members {group.group_id}`"
    )


def _known(cluster: Cluster, group: str, *, may_be_new: bool) -> ConsumerGroupDescription | None:
    try:
        (found,) = cluster.admin.describe_consumer_groups([group])
    except UnknownGroupError as error:
        if may_be_new:
            return None
        raise UnknownGroupError(f"{error} (to make a new one, say with --topic where it begins)") from error
    return found


def _say(
    group: str,
    committed: dict[TopicPartition, int],
    offsets: dict[TopicPartition, int],
    *,
    dry_run: bool,
    output: str,
) -> None:
    rows: list[dict[str, object]] = [
        {
            "topic": place.topic,
            "partition": place.partition,
            "before": committed.get(place),
            "offset": offset,
            "moves_by": None if place not in committed else offset - committed[place],
        }
        for place, offset in offsets.items()
    ]
    columns = ["topic", "partition", "before", "offset", "moves_by"]
    empty = (
        f"group {printable(group)} has committed nothing there: with --topic, --to earliest, latest, OFFSET or"
        " @TIMESTAMP says where it begins"
    )
    print_rows(output, rows, columns, empty=empty)
    if output != "json" and rows:
        what = f"{count_of(len(rows), 'offset')} of {printable(group)}"
        click.echo(f"would reset {what}" if dry_run else f"reset {what}", err=True)
