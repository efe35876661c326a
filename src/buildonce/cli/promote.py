"""``release promote``."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import click

from buildonce.cli.keys import home, signer
from buildonce.cli.options import Common, common, complete_destination, system

__all__ = ["command"]


@click.command(name="promote")
@click.argument("version", metavar="VERSION")
@click.option(
    "--from", "source", required=True, metavar="NAME", shell_complete=complete_destination, help="Where it is."
)
@click.option(
    "--to", "target", required=True, metavar="NAME", shell_complete=complete_destination, help="Where it goes."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A public key to trust; may be given again.",
)
@click.option("--dry-run", is_flag=True, help="Verify, ask both destinations, and say what would move; move nothing.")
@common
def command(*, options: Common, version: str, source: str, target: str, keys: tuple[Path, ...], dry_run: bool) -> None:
    """Bring VERSION from one destination to another: the same bytes, verified on the way.

    Who promoted it when is recorded in a signed statement beside the release.
    """
    from buildonce import promoting, verification
    from buildonce.cli import show
    from buildonce.publishers import Means

    with system(options) as machine:
        means = Means(system=machine, key=signer(options.root, machine), trusted=verification.trusted(keys, home()))
        made = promoting.promote(
            options.root, version, means, source=source, target=target, user=getpass.getuser(), dry_run=dry_run
        )
    if options.json:
        click.echo(json.dumps(show.promoted_json(made, dry_run=dry_run), indent=2))
    else:
        show.promoted(made, dry_run=dry_run)
