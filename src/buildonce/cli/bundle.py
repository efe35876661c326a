"""``release bundle``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildonce.cli.means import open_means
from buildonce.cli.options import Common, common, system, trusting

__all__ = ["command"]


@click.command(name="bundle")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@click.option("--inputs", is_flag=True, help="Everything that the release is built from, by sha256.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Into this file (.tar).")
@click.option(
    "--to", multiple=True, metavar="VAULT", help="Into this vault: a folder or oci://host/name; may be given again."
)
@trusting
@click.option("--no-os-packages", is_flag=True, help="Leave out what the debs need of Debian.")
@common
def command(
    *,
    options: Common,
    folder: Path | None,
    inputs: bool,
    out: Path | None,
    to: tuple[str, ...],
    keys: tuple[Path, ...],
    no_os_packages: bool,
) -> None:
    """Put the release in DIR into one file, with all that a site without network needs to verify and install it.

    With --inputs, keep all that a release is built from, for the day on which its upstreams are gone: in a file, or
    without --out and --to in the vaults that [tool.release] and BUILDONCE_VAULT name; with DIR, only if the lock here
    is the one that it was built from.
    """
    if out and to:
        msg = "--out writes one file, --to a vault: give one of the two"
        raise click.UsageError(msg)
    if inputs:
        _keep_inputs(options, folder, out, to)
    elif folder and not to:
        _carry(options, folder, out, keys, os_packages=not no_os_packages)
    else:
        msg = "name the folder of a release, or say --inputs"
        raise click.UsageError(msg)


def _carry(options: Common, folder: Path, out: Path | None, keys: tuple[Path, ...], *, os_packages: bool) -> None:
    from buildonce import airgap
    from buildonce.cli import show

    with open_means(options, keys) as means:
        place = options.root / out if out else None
        made = airgap.make(options.root, options.root / folder, place, means, os_packages=os_packages)
    if options.json:
        click.echo(json.dumps(show.carried_json(made), indent=2))
    else:
        show.carried(made)


def _keep_inputs(options: Common, folder: Path | None, out: Path | None, to: tuple[str, ...]) -> None:
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
