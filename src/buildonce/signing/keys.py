"""Key files: made once, 0600, never overwritten; opened with a passphrase or without."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from buildonce.errors import ReleaseError
from buildonce.signing import openpgp, pkcs8
from buildonce.signing.public import PublicKey, name_of
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Key", "load", "new", "workstation"]

_WORKSTATION: Final = "workstation"
_SECRET: Final = 0o600
_MOST_BYTES: Final = 64 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key that can sign. The secret stays inside *signer*."""

    public: PublicKey
    signer: Any = field(repr=False, compare=False)  # securesystemslib.signer.Signer: imported only where it is made
    protected: bool  # whether the file needs a passphrase

    @property
    def name(self) -> str:
        """What the key is called: its file's name."""
        return self.public.name

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 over the SHA-256 of *data*, DER."""
        return bytes.fromhex(self.signer.sign(data).signature)


def new(path: Path, passphrase: bytes | None) -> Key:
    """Make the key *path* (``NAME.key``, or ``NAME``) and its public files; with *passphrase* None it is
    unprotected.

    Beside it: ``NAME.pub`` (PEM), ``NAME.ssh.pub`` and ``NAME.allowed_signers`` (OpenSSH), ``NAME.asc`` and
    ``NAME.gpg`` (OpenPGP). Raises :class:`ReleaseError` when one of them is there already or cannot be
    written.
    """
    name = name_of(path)
    path = path.with_name(f"{name}.key")
    secret = generate_private_key(SECP256R1())
    key = _key(secret, name, protected=passphrase is not None)
    public = {path.with_name(f"{name}.{suffix}"): data for suffix, data in _public_files(key)}
    for existing in (path, *public):
        if existing.exists() or existing.is_symlink():
            raise _exists(existing)
    pem = pkcs8.unprotected(secret) if passphrase is None else pkcs8.protected(secret, passphrase)
    try:
        _write_new(path, pem)
        for place, data in public.items():
            files.write_atomically(place, data)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise ReleaseError(
            f"the key cannot be written: {error.strerror}",
            where=str(path),
            hint="name a place that can be written",
        ) from error
    return key


def load(path: Path, passphrase: Callable[[], bytes]) -> Key:
    """The key in a file; *passphrase* is asked only when the file needs one.

    Raises :class:`ReleaseError` when there is no key, another kind of key, a wrong passphrase, or an
    unprotected key that everybody on the machine can read.
    """
    try:
        with path.open("rb") as stream:
            pem, status = stream.read(_MOST_BYTES), os.fstat(stream.fileno())
    except FileNotFoundError as error:
        raise ReleaseError(
            "there is no such key", where=str(path), hint=f"make it with `release key new {path.stem}`"
        ) from error
    except OSError as error:
        raise ReleaseError(f"the key cannot be read: {error.strerror}", where=str(path)) from error
    protected = pkcs8.ENCRYPTED in pem
    if not protected and status.st_mode & stat.S_IROTH:
        raise ReleaseError(
            "everybody on this machine can read this unprotected key",
            where=str(path),
            hint=f"chmod 600 {path}",
        )
    return _key(_opened(pem, passphrase() if protected else None, path), name_of(path), protected=protected)


def workstation(folder: Path) -> tuple[Key, bool]:
    """This machine's own unprotected key in *folder*, and whether it was made now (which the user has to be
    told).
    """
    path = folder / f"{_WORKSTATION}.key"
    if not path.exists():
        with contextlib.suppress(_KeyExistsError):  # another process made it in the meantime
            return new(path, None), True
    return load(path, _no_passphrase), False


class _KeyExistsError(ReleaseError):
    """A key file is there already."""


def _exists(path: Path) -> _KeyExistsError:
    return _KeyExistsError(
        "this file is there already, and a key is never overwritten",
        where=str(path),
        hint="choose another name",
    )


def _no_passphrase() -> bytes:
    raise ReleaseError(
        "the workstation key asks for a passphrase, but is used without anybody there",
        hint="name it with --key to be asked for the passphrase",
    )


def _key(secret: EllipticCurvePrivateKey, name: str, *, protected: bool) -> Key:
    from buildonce.signing.signer import FileSigner

    public = PublicKey.of(secret.public_key(), name=name)
    return Key(public=public, signer=FileSigner(secret, public.keyid), protected=protected)


def _public_files(key: Key) -> tuple[tuple[str, bytes], ...]:
    """What others verify with: each program wants to be given the key in its own way."""
    certificate = openpgp.certificate(key)
    return (
        ("pub", key.public.pem),
        ("ssh.pub", key.public.ssh),
        ("allowed_signers", key.public.allowed_signer),
        ("asc", openpgp.armor("PUBLIC KEY BLOCK", certificate)),
        ("gpg", certificate),
    )


def _write_new(path: Path, data: bytes) -> None:
    """Write a secret so that it is whole or not there, was never readable by others, and replaces nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, _SECRET)
            stream.write(data)
            stream.flush()
            os.fsync(handle)
        os.link(aside, path)  # unlike a rename, this fails when the name is taken
    finally:
        Path(aside).unlink()


def _opened(pem: bytes, passphrase: bytes | None, path: Path) -> EllipticCurvePrivateKey:
    try:
        secret = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is None:
            raise ReleaseError(
                "this is not a private key",
                where=str(path),
                hint="give a PKCS#8 PEM file, as `release key new` makes",
            ) from error
        raise ReleaseError(
            "the passphrase is wrong, or the key file is damaged",
            where=str(path),
            hint="try the passphrase again",
        ) from error
    if not isinstance(secret, EllipticCurvePrivateKey) or not isinstance(secret.curve, SECP256R1):
        raise ReleaseError(
            "this is not an ECDSA P-256 key, the one kind that every verifier reads",
            where=str(path),
            hint="make one with `release key new`",
        )
    return secret
