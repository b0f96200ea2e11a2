"""`shmlog config`: which settings there are. Needs no cluster; what a topic has shows `shmlog topic describe`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from shmlog.cli.output import output_option, print_rows
from shmlog.setting_tables import SCOPES, Scope
from shmlog.settings import as_text, find, refusal


@click.group()
def config() -> None:
    """Look up settings."""


@config.command(
    "list",
    short_help="List the settings of a scope.",
    epilog="""\b
Examples:
  shmlog config list
  shmlog config list --scope producer -o json
""",
)
@click.option("--scope", type=click.Choice(list(SCOPES)), default="topic", show_default=True)
@output_option
def list_settings(scope: Scope, output: str) -> None:
    """List the settings of a scope, with their defaults and what they do."""
    rows: list[dict[str, object]] = [
        {
            "setting": name,
            "default": "" if setting.default is None else as_text(setting.default),
            "takes effect": setting.takes_effect if scope == "topic" else "at the start",
            "what it does": setting.doc,
        }
        for name, setting in SCOPES[scope].items()
    ]
    print_rows(output, rows, ["setting", "default", "takes effect", "what it does"], empty="none")


@config.command(
    epilog="""\b
Examples:
  shmlog config explain cleanup.policy
  shmlog config explain compression.type                     that of topics, and that of producers
  shmlog config explain compression.type --scope producer
"""
)
@click.argument("setting")
@click.option("--scope", type=click.Choice(list(SCOPES)), help="Default: every scope that has it.")
def explain(setting: str, scope: Scope | None) -> None:
    """Say what SETTING does, and what it may be."""
    scopes: Iterable[Scope] = SCOPES if scope is None else [scope]
    homes = [one for one in scopes if setting.replace("_", ".") in SCOPES[one]]
    if not homes:
        raise refusal(setting, *scopes)
    for home in homes:
        found = find(home, setting)
        click.echo(f"{found.name} ({home}): {found.doc}")
        default = as_text(found.default) if found.default not in (None, ()) else "none"
        click.echo(f"It is {found.allowed}; by default {default}.")
        if home == "topic":
            click.echo(f"A change takes effect {found.takes_effect}.")
