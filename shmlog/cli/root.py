"""The command `shmlog` and the list of its commands; a command's module is imported when it is used."""

from __future__ import annotations

import difflib
import importlib

import click

COMMANDS = {
    "demo": ("shmlog.cli.demo.command", "Replay real flights through a cluster and verify every record."),
    "up": ("shmlog.cli.up", "Start a cluster."),
    "down": ("shmlog.cli.down", "Stop a cluster cleanly."),
    "status": ("shmlog.cli.status", "Show a cluster and each of its partitions."),
    "logs": ("shmlog.cli.logs", "Show what a detached cluster has logged."),
    "top": ("shmlog.cli.top", "Watch partitions, rates and lags live."),
    "topic": ("shmlog.cli.topic", "Create, list, describe, alter and delete topics."),
    "group": ("shmlog.cli.group.command", "Look at consumer groups, and set where they go on."),
    "config": ("shmlog.cli.config", "Look up settings: names, defaults, what they do."),
    "replica": ("shmlog.cli.replica", "Choose leaders, and move replicas to other disks."),
    "produce": ("shmlog.cli.produce", "Send lines to a topic."),
    "consume": ("shmlog.cli.consume", "Print a topic's records."),
    "segment": ("shmlog.cli.segment", "Look into segment files, verify and repair them."),
    "memory": ("shmlog.cli.memory", "Look into the shared memory of clusters."),
    "doctor": ("shmlog.cli.doctor", "Check this host, and say what to do."),
    "profile": ("shmlog.cli.profile.command", "See where the time of records goes; flame graphs of the owners."),
    "bench": ("shmlog.cli.bench", "Measure throughput, latency and failover."),
    "torture": ("shmlog.cli.torture.command", "Kill, stop and fail everything, and judge what was promised."),
    "completion": ("shmlog.cli.completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and first help line only, until one of them is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  shmlog demo                               everything once, verified
  shmlog up --detach                        start the cluster "default"
  shmlog topic create orders --partitions 3
  seq 10 | shmlog produce orders
  shmlog consume orders
  shmlog status

Which cluster: --name, else $SHMLOG_CLUSTER, else "default".
""",
)
@click.version_option(package_name="shmlog", message="shmlog %(version)s")
def root() -> None:
    """Kafka's topics, partitions and logs for one Linux host, through shared memory."""
