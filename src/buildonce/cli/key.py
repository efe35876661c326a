"""``release key new`` and ``release key show``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from buildonce.cli.keys import home, new_passphrase
from buildonce.cli.options import Common, common
from buildonce.errors import ReleaseError

__all__ = ["command"]


@click.group(name="key")
def command() -> None:
    """Make a signing key, or show how others verify with it."""


@command.command(name="new")
@click.argument("name", default="release")
@click.option(
    "--no-passphrase",
    is_flag=True,
    help="Leave the key unprotected; for machines whose disk is the protection.",
)
@common
def new(*, options: Common, name: str, no_passphrase: bool) -> None:
    """Make the key NAME (ECDSA P-256): a name among this user's keys, or a path.

    Writes NAME.key (encrypted PKCS#8, scrypt) and the public files that openssl, ssh-keygen, gpgv and cosign read.
    """
    from buildonce.signing import keys

    made = keys.new(_place(name), None if no_passphrase else new_passphrase())
    _show(_place(name), options, "made")
    if no_passphrase:
        click.echo(f"{made.name} is unprotected: whoever reads the file can sign", err=True)


@command.command(name="show")
@click.argument("name", default="")
@common
def show(*, options: Common, name: str) -> None:
    """Print the public key NAME (default: this machine's own) and how others verify with it."""
    place = _place(name or "workstation")
    if not place.with_name(f"{_stem(place)}.pub").exists():
        raise ReleaseError(
            "there is no such key",
            where=str(place),
            hint=f"make it with `release key new {name or 'release'}`",
        )
    _show(place, options, "has")


def _place(name: str) -> Path:
    return Path(name) if "/" in name or name.endswith(".key") else home() / name


def _stem(place: Path) -> str:
    return place.name.removesuffix(".key")


def _show(place: Path, options: Common, verb: str) -> None:
    from buildonce.signing.public import PublicKey

    stem = place.with_name(_stem(place))
    public = PublicKey.load(Path(f"{stem}.pub"))
    if options.json:
        click.echo(json.dumps({"name": public.name, "keyid": public.keyid, "public": f"{stem}.pub"}))
        return
    click.echo(public.pem.decode(), nl=False)
    click.echo(
        f"{public.name} {verb} the fingerprint {public.keyid}\n"
        "Others verify a release with any of these, in its folder:\n"
        f"  release verify --key {stem}.pub .\n"
        f"  openssl dgst -sha256 -verify {stem}.pub -signature SHA256SUMS.sig SHA256SUMS\n"
        f"  ssh-keygen -Y verify -f {stem}.allowed_signers -I {public.name} -n release"
        " -s SHA256SUMS.sshsig < SHA256SUMS\n"
        f"  gpgv --keyring {stem}.gpg SHA256SUMS.asc SHA256SUMS\n"
        "and then: sha256sum -c SHA256SUMS",
        err=True,
    )
