"""``release promote``."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

import click

from buildonce.cli.means import open_means
from buildonce.cli.options import Common, common, complete_destination, trusting

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command(name="promote")
@click.argument("version", metavar="VERSION")
@click.option(
    "--from", "source", required=True, metavar="NAME", shell_complete=complete_destination, help="Where it is."
)
@click.option(
    "--to", "target", required=True, metavar="NAME", shell_complete=complete_destination, help="Where it goes."
)
@trusting
@click.option("--dry-run", is_flag=True, help="Verify, ask both destinations, and say what would move; move nothing.")
@common
def command(*, options: Common, version: str, source: str, target: str, keys: tuple[Path, ...], dry_run: bool) -> None:
    """Bring VERSION from one destination to another: the same bytes, verified on the way.

    Who promoted it when is recorded in a signed statement beside the release.
    """
    from buildonce import promoting
    from buildonce.cli import show

    with open_means(options, keys) as means:
        made = promoting.promote(
            options.root, version, means, source=source, target=target, user=getpass.getuser(), dry_run=dry_run
        )
    if options.json:
        click.echo(json.dumps(show.promoted_json(made, dry_run=dry_run), indent=2))
    else:
        show.promoted(made, dry_run=dry_run)
