"""The file of an encrypted private key: PKCS#8 (RFC 5958), PBES2 (RFC 8018), scrypt (RFC 7914), AES-256-CBC.

Written here because pyca/cryptography's PKCS#8 writer derives the key with 2,048 rounds of PBKDF2, which a
graphics card tries millions of times a second. OpenSSL, ssh-keygen, Node and pyca/cryptography read the
result.
"""

from __future__ import annotations

import base64
import os
import textwrap
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["ENCRYPTED", "protected", "unprotected"]

ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

# The strongest that OpenSSL opens without being told to: it refuses more than 32 MiB (128 * N * r), so N may
# not be raised; p = 5 makes up for it (OWASP counts this equal to N = 2**17, p = 1). It opens in 0.2 s.
_N, _R, _P = 1 << 14, 8, 5

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES256_CBC: Final = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42


def unprotected(key: EllipticCurvePrivateKey) -> bytes:
    """*key* as PEM that anybody who reads the file can use."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def protected(key: EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    """*key* as PEM that only *passphrase* opens."""
    salt, start = os.urandom(16), os.urandom(16)
    secret = Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase)
    fill = padding.PKCS7(128).padder()
    plain = fill.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + fill.finalize()
    cipher = Cipher(algorithms.AES(secret), modes.CBC(start)).encryptor()
    derivation = _sequence(_SCRYPT, _sequence(_tagged(_OCTETS, salt), _integer(_N), _integer(_R), _integer(_P)))
    scheme = _sequence(_PBES2, _sequence(derivation, _sequence(_AES256_CBC, _tagged(_OCTETS, start))))
    whole = _sequence(scheme, _tagged(_OCTETS, cipher.update(plain) + cipher.finalize()))
    lines = textwrap.wrap(base64.b64encode(whole).decode(), 64)
    return "\n".join([ENCRYPTED.decode(), *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]).encode()


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(long)]) + long + content


def _sequence(*parts: bytes) -> bytes:
    return _tagged(_SEQUENCE, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tagged(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
