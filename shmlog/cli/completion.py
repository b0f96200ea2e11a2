"""`shmlog completion`: the script that teaches a shell to complete our commands, options and topics."""

from __future__ import annotations

import click

from shmlog.cli.main import COMPLETION_VARIABLE


@click.command(
    epilog="""\b
Examples:
  shmlog completion bash > ~/.local/share/bash-completion/completions/shmlog
  shmlog completion zsh > "${fpath[1]}/_shmlog"
  shmlog completion fish > ~/.config/fish/completions/shmlog.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    from shmlog.cli.root import root

    script = get_completion_class(shell)
    assert script is not None, "click knows the three shells"
    click.echo(script(root, {}, "shmlog", COMPLETION_VARIABLE).source())
