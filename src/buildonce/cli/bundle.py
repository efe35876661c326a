"""``release bundle``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildonce.cli.options import Common, common, system

__all__ = ["command"]


@click.command(name="bundle")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@click.option("--inputs", is_flag=True, help="Everything that the release is built from, by sha256.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Into this file (.tar).")
@click.option(
    "--to", multiple=True, metavar="VAULT", help="Into this vault: a folder or oci://host/name; may be given again."
)
@common
def command(*, options: Common, folder: Path | None, inputs: bool, out: Path | None, to: tuple[str, ...]) -> None:
    """Keep all that a release is built from, for the day on which its upstreams are gone.

    Without --out and --to, in the vaults that [tool.release] and BUILDONCE_VAULT name. With DIR, a release folder, only
    if the lock here is the one that it was built from.
    """
    if not inputs:
        msg = "say what to bundle: --inputs"
        raise click.UsageError(msg)
    if out and to:
        msg = "--out writes one file, --to a vault: give one of the two"
        raise click.UsageError(msg)
    from buildonce import bundling
    from buildonce.cli import show

    with system(options) as machine:
        made = bundling.make(
            options.root,
            machine,
            release=options.root / folder if folder else None,
            out=options.root / out if out else None,
            to=to,
        )
    if options.json:
        click.echo(json.dumps(show.bundled_json(made), indent=2))
    else:
        show.bundled(made)
