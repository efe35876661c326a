"""``release publish``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildonce.cli.means import open_means
from buildonce.cli.options import Common, common, complete_destination, trusting

__all__ = ["command"]


@click.command(name="publish")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--to",
    "to",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=complete_destination,
    help="A destination in [tool.release.publish]; may be given again.",
)
@trusting
@click.option("--dry-run", is_flag=True, help="Ask every destination, and say what would be sent; send nothing.")
@common
def command(*, options: Common, folder: Path, to: tuple[str, ...], keys: tuple[Path, ...], dry_run: bool) -> None:
    """Publish the release in DIR: verified before, all of it or nothing, read back afterwards.

    Doing it again changes nothing and ends well; a version that is published with other bytes is never replaced.
    """
    from buildonce import publishing
    from buildonce.cli import show

    with open_means(options, keys) as means:
        found = publishing.publish(options.root, options.root / folder, to, means, dry_run=dry_run)
    if options.json:
        click.echo(json.dumps(show.published_json(found, dry_run=dry_run), indent=2))
    else:
        show.published(found, dry_run=dry_run)
