"""What several benchmarks are asked, and how they end."""

from __future__ import annotations

import click

data_dir_option = click.option(
    "--data-dir", type=click.Path(file_okay=False, exists=True), help="A directory on the disk to measure."
)


def judge(exact: bool, verdict: str) -> None:
    """Exit with 1, and say why, when what was measured is not exact."""
    if not exact:
        click.echo(f"not exact: {verdict}", err=True)
        raise click.exceptions.Exit(1)
