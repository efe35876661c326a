"""A public key, in the spelling of every program that verifies with it."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from buildonce.errors import ReleaseError, VerificationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NAMESPACE", "SSH_TYPE", "PublicKey", "name_of"]

NAMESPACE: Final = "release"  # what SSH signatures are for: one made for another purpose never counts as a release's
SSH_TYPE: Final = b"ecdsa-sha2-nistp256"
_MOST_BYTES: Final = 64 << 10
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def name_of(path: Path) -> str:
    """The key's name, from its file: ``keys/team.key`` and ``team.ssh.pub`` are ``team``.

    It goes into file names and one-line formats, so that a name that could end a line or leave a folder is
    refused.
    """
    name = path.name
    for suffix in (".ssh.pub", ".pub", ".key", ".pem"):
        name = name.removesuffix(suffix)
    if not _NAME.fullmatch(name):
        raise ReleaseError(
            f"{name!r} is not a name for a key",
            where=str(path),
            hint="use letters, digits, '.', '_' and '-', beginning with a letter or digit, 64 at most",
        )
    return name


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicKey:
    """An ECDSA P-256 key that is trusted. Equal keys are equal bytes, whatever they are called."""

    spki: bytes = field(repr=False)  # SubjectPublicKeyInfo, DER (RFC 5480)
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """The key in a file: PEM (``NAME.pub``) or one line of OpenSSH (``NAME.ssh.pub``).

        Raises :class:`ReleaseError` when there is none, or another kind of key.
        """
        try:
            with path.open("rb") as stream:
                data = stream.read(_MOST_BYTES)
        except OSError as error:
            raise ReleaseError(
                f"the public key cannot be read: {error.strerror}",
                where=str(path),
                hint="`release key show` prints your own",
            ) from error
        return cls.parse(data, name=name_of(path), where=str(path))

    @classmethod
    def parse(cls, data: bytes, *, name: str, where: str = "") -> PublicKey:
        """The key in PEM or OpenSSH text; *where* names the file in errors."""
        read = load_pem_public_key if data.lstrip().startswith(b"-----BEGIN") else load_ssh_public_key
        try:
            key = read(data.strip())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ReleaseError(
                "this is not a public key",
                where=where,
                hint="give a PEM file (NAME.pub) or an OpenSSH one (NAME.ssh.pub)",
            ) from error
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise ReleaseError(
                "this is not an ECDSA P-256 key, the one kind that every verifier reads",
                where=where,
                hint="make one with `release key new`",
            )
        return cls.of(key, name=name)

    @classmethod
    def of(cls, key: EllipticCurvePublicKey, *, name: str) -> PublicKey:
        """The value of a key of pyca/cryptography."""
        return cls(spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), name=name)

    @property
    def point(self) -> bytes:
        """The uncompressed point (SEC 1), 65 bytes: the end of the SubjectPublicKeyInfo."""
        return self.spki[-65:]

    @property
    def ssh_blob(self) -> bytes:
        """The key as SSH sends it (RFC 5656)."""
        return b"".join(struct.pack(">I", len(part)) + part for part in (SSH_TYPE, b"nistp256", self.point))

    @property
    def keyid(self) -> str:
        """``SHA256:`` and OpenSSH's fingerprint: what ``ssh-keygen -l`` shows and cosign looks for."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.ssh_blob).digest()).decode().rstrip("=")

    @property
    def folder(self) -> str:
        """Where this signer's attestations lie: the name and a part of the fingerprint, safe in every file
        system.
        """
        return f"{self.name}-{hashlib.sha256(self.ssh_blob).hexdigest()[:8]}"

    @property
    def pem(self) -> bytes:
        """For openssl and cosign."""
        lines = base64.encodebytes(self.spki).decode().replace("\n", "")
        body = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n".encode()

    @property
    def ssh(self) -> bytes:
        """One line of OpenSSH."""
        return b" ".join((SSH_TYPE, base64.b64encode(self.ssh_blob), self.name.encode())) + b"\n"

    @property
    def allowed_signer(self) -> bytes:
        """One line of ``ssh-keygen -Y verify -f``: this key, under its name, for releases only."""
        return f'{self.name} namespaces="{NAMESPACE}" '.encode() + self.ssh

    def check(self, signature: bytes, data: bytes) -> bool:
        """Whether *signature* (ECDSA, DER) is this key's over the SHA-256 of *data*."""
        key = load_der_public_key(self.spki)
        if not isinstance(key, EllipticCurvePublicKey):
            raise VerificationError(f"{self.name} is not an ECDSA key")
        try:
            key.verify(signature, data, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True
