"""Trust: keys, the forms of signature that other programs verify, and the signed folder of a release."""

from __future__ import annotations

from buildonce.signing.keys import Key
from buildonce.signing.public import PublicKey

__all__ = ["Key", "PublicKey"]
