"""`shmlog config`: which settings there are. Needs no cluster; what a topic has shows `shmlog topic describe`."""

from __future__ import annotations

import click

from shmlog.cli.output import output_option, print_rows
from shmlog.setting_tables import SCOPES, Scope
from shmlog.settings import as_text, find


@click.group()
def config() -> None:
    """Look up settings."""


@config.command(
    "list",
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
  shmlog config explain acks --scope producer
"""
)
@click.argument("setting")
@click.option("--scope", type=click.Choice(list(SCOPES)), default="topic", show_default=True)
def explain(setting: str, scope: Scope) -> None:
    """Say what SETTING does, and what it may be."""
    found = find(scope, setting)
    click.echo(f"{found.name}: {found.doc}")
    click.echo(
        f"It is {found.allowed}; by default {as_text(found.default) if found.default not in (None, ()) else 'none'}."
    )
    if scope == "topic":
        click.echo(f"A change takes effect {found.takes_effect}.")
