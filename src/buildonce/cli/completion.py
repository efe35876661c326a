"""``release completion SHELL``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL, to be sourced by it.

    For bash: release completion bash > ~/.local/share/bash-completion/completions/release
    """
    from buildonce.cli import command as release

    found = get_completion_class(shell)
    if found is None:
        msg = f"click knows no completion for {shell}"
        raise click.ClickException(msg)
    click.echo(found(release, {}, "release", "_RELEASE_COMPLETE").source())
