"""SSHSIG, version 1 (OpenSSH's ``PROTOCOL.sshsig``): a signature for a purpose, here ``release``.
``ssh-keygen -Y verify`` reads it.

As with OpenPGP, all but the signature's two numbers follows from key and data: verifying reads these, writes
the file anew and compares.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from buildonce.errors import VerificationError
from buildonce.signing.public import NAMESPACE, SSH_TYPE

if TYPE_CHECKING:
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["sign", "verify"]

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = struct.pack(">I", 1)
_HASH: Final = b"sha512"
_LINE = 70  # what ssh-keygen writes
_ARMOR: Final = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,70}\n)+)-----END SSH SIGNATURE-----\n"
)


def sign(key: Key, data: bytes) -> bytes:
    """The signature of *key* over *data*, armored."""
    return _armored(key.public, key.sign(_covered(data)))


def verify(text: bytes, data: bytes, public: PublicKey) -> None:
    """Raise :class:`VerificationError` unless *text* is what *public* would have written over *data*."""
    der = _numbers(text)
    if _armored(public, der) != text:
        raise VerificationError("not an SSH signature by this key for a release")
    if not public.check(der, _covered(data)):
        raise VerificationError("the SSH signature is wrong")


def _covered(data: bytes) -> bytes:
    return _MAGIC + _strings(NAMESPACE.encode(), b"", _HASH, hashlib.sha512(data).digest())


def _armored(public: PublicKey, der: bytes) -> bytes:
    numbers = _strings(*(number.to_bytes(number.bit_length() // 8 + 1, "big") for number in decode_dss_signature(der)))
    signature = _strings(SSH_TYPE, numbers)
    blob = _MAGIC + _VERSION + _strings(public.ssh_blob, NAMESPACE.encode(), b"", _HASH, signature)
    text = base64.b64encode(blob)
    lines = b"\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"\n-----END SSH SIGNATURE-----\n"


def _numbers(text: bytes) -> bytes:
    """The two numbers as DER: the last string of the last string; the caller compares all the rest."""
    found = _ARMOR.fullmatch(text)
    try:
        rest = base64.b64decode(found[1].replace(b"\n", b"") if found else b"", validate=True)
        rest = rest[len(_MAGIC) + len(_VERSION) :]
        part = b""
        for _ in range(5):  # key, namespace, reserved, hash, signature
            part, rest = _string(rest)
        _, numbers = _string(part)
        numbers, _ = _string(numbers)
        r, numbers = _string(numbers)
        s, _ = _string(numbers)
    except (binascii.Error, struct.error) as error:
        raise VerificationError("not an SSH signature") from error
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def _string(data: bytes) -> tuple[bytes, bytes]:
    size = struct.unpack_from(">I", data)[0]
    return data[4 : 4 + size], data[4 + size :]


def _strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)
