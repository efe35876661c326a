"""The bare signature: ECDSA over SHA-256, DER (RFC 3279). ``openssl dgst -sha256 -verify`` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["sign", "verify"]


def sign(key: Key, data: bytes) -> bytes:
    """The signature of *key* over *data*."""
    return key.sign(data)


def verify(signature: bytes, data: bytes, public: PublicKey) -> None:
    """Raise :class:`VerificationError` unless *signature* is *public*'s over *data*."""
    if not public.check(signature, data):
        raise VerificationError("not a signature by this key over these bytes")
