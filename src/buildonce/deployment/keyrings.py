"""The OpenPGP certificates that hosts check signatures with: ``gpgv`` or ``sqv`` is on every Debian host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["read"]


def read(keys: Sequence[Path], home: Path) -> bytes:
    """One keyring of the certificates beside the public *keys* (``NAME.gpg`` beside ``NAME.pub``), or beside those of
    this user in *home*.

    Binary certificates one behind the other are a keyring: RFC 4880, 3.6. Raises :class:`ReleaseError` for a key
    without a certificate.
    """
    found = b""
    for key in keys or [one for one in sorted(home.glob("*.pub")) if not one.name.endswith(".ssh.pub")]:
        try:
            found += key.with_suffix(".gpg").read_bytes()
        except FileNotFoundError as error:
            raise ReleaseError(
                f"hosts cannot check signatures of {key.stem}: its OpenPGP certificate is not there",
                where=str(key.with_suffix(".gpg")),
                hint="put NAME.gpg, which `release key new` wrote, beside NAME.pub",
            ) from error
    return found
