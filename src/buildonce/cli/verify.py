"""``release verify``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildonce.cli.keys import home
from buildonce.cli.options import Common, common, system, trusting

__all__ = ["command"]


@click.command(name="verify")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@trusting
@click.option(
    "--reproduced",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also ask for rebuilds attested by N trusted keys, not counting the releaser's.",
)
@common
def command(*, options: Common, folder: Path, keys: tuple[Path, ...], reproduced: int) -> None:
    """Check the release in DIR: signatures, digests, SBOM, provenance, and every artifact against the Tree.

    Without --key the keys of this user are trusted: the configured one and the workstation's.
    """
    from buildonce import verification
    from buildonce.cli import show

    with system(options) as machine:
        verified = verification.verify(
            options.root / folder, verification.trusted(keys, home()), machine, reproduced=reproduced
        )
    if options.json:
        click.echo(json.dumps(show.verified_json(verified), indent=2))
    else:
        show.verified(verified)
