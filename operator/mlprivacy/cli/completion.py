"""``mlprivacy completion SHELL``: the script that a shell sources to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
bash: mlprivacy completion bash > /etc/bash_completion.d/mlprivacy
zsh:  mlprivacy completion zsh > "${fpath[1]}/_mlprivacy"
fish: mlprivacy completion fish > ~/.config/fish/completions/mlprivacy.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the shell's completion script."""
    from mlprivacy.cli.main import cli  # noqa: PLC0415 - main imports this module

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"There is no completion for {shell}.")
    click.echo(found(cli, {}, "mlprivacy", "_MLPRIVACY_COMPLETE").source())
