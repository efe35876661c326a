"""``release reproduce``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildonce.cli.keys import chosen_key, home, passphrase
from buildonce.cli.options import Common, common, isolated, system
from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from buildonce.model import RunnerName
    from buildonce.signing import Key

__all__ = ["command"]


@click.command(name="reproduce")
@click.argument("where", type=click.Path(), metavar="DIR|release.json|URL")
@click.option("--source", default="", metavar="PATH|URL", help="Take the commit from this repository.")
@click.option(
    "--trust",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A public key whose releases are trusted; may be given again.",
)
@click.option("--vary", is_flag=True, help="Build under everything that must not matter: user, host, time, umask, …")
@click.option("--quick", is_flag=True, help="Take what was compiled before from the store; proves less.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Where rebuilt artifacts that differ are left."
)
@click.option("--sign", is_flag=True, help="When identical, attest it in the release's attestations/.")
@click.option("--key", "key", metavar="FILE", help="The key to attest with.")
@isolated
@common
def command(
    *,
    options: Common,
    where: str,
    source: str,
    keys: tuple[Path, ...],
    vary: bool,
    quick: bool,
    keep: Path | None,
    sign: bool,
    key: str | None,
    runner: RunnerName,
    limit: float,
) -> None:
    """Build a release again from its recorded commit and lock, and compare bit for bit.

    Exits with 0 only when every byte is the same, with 4 when not, with 6 when the inputs differ.
    """
    if quick and (sign or vary):
        raise click.UsageError(f"--quick proves too little for {'--sign' if sign else '--vary'}")
    if key and not sign:
        raise click.UsageError("--key is for --sign; whose releases are trusted is named with --trust")
    from buildonce import reproduction, verification
    from buildonce.cli import show

    order = reproduction.Order(
        where=where,
        root=options.root,
        source=source,
        trusted=verification.trusted(keys, home(), option="--trust"),
        key=_key(key) if sign else None,
        mode="ci" if os.environ.get("CI") else "workstation",
        vary=vary,
        quick=quick,
        keep=options.root / keep if keep else None,
        runner=runner,
        limit=limit,
    )
    with system(options) as machine:
        report = reproduction.reproduce(order, machine)
    if options.json:
        click.echo(json.dumps(show.reproduced_json(report), indent=2))
    else:
        show.reproduced(report)
    if report.identical:
        return
    if options.json:
        raise click.exceptions.Exit(VerificationError.exit_code)
    different = [one.file for one in report.files if not one.same]
    raise VerificationError(
        f"not reproduced: {len(different)} of {len(report.files)} files differ",
        where=str(report.kept or ""),
        hint="compare what is kept there with the release; diffoscope, when installed, does so with this command",
    )


def _key(chosen: str | None) -> Key:
    """The rebuilder's key, opened before the long work."""
    from buildonce.signing import keys

    name = chosen_key(chosen)
    return keys.load(Path(name).expanduser(), passphrase) if name else keys.workstation(home())[0]
