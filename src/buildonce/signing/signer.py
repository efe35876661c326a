"""A key file as a signer of securesystemslib: the seam where an HSM or a key service takes its place.

In a module of its own because securesystemslib takes 0.1 s to import and verifying does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["FileSigner"]


class FileSigner(CryptoSigner):  # type: ignore[misc]  # its module is not followed by mypy
    """Signs with RFC 6979's nonces: signing the same bytes again gives the same file, and no bad random
    number tells the key.
    """

    def __init__(self, key: EllipticCurvePrivateKey, keyid: str) -> None:
        super().__init__(key, SSlibKey.from_crypto(key.public_key(), keyid))
        self._key = key

    def sign(self, payload: bytes) -> Signature:
        """The signature over *payload*, DER in hexadecimal."""
        signature = self._key.sign(payload, ECDSA(SHA256(), deterministic_signing=True))
        return Signature(self.public_key.keyid, signature.hex())
