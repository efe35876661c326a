"""OpenPGP, as much of it as a release needs: a certificate for our key, and one signature, detached or around a text.

Formats: RFC 4880, RFC 6637 for ECDSA. gpgv, sqv and apt read both; no gpg is needed to write them. Everything
but the signature's two numbers and its time follows from the public key, so that verifying means: read these
three, write the file anew, compare, check the numbers. A changed byte has nowhere to hide.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["CREATED", "Signature", "armor", "certificate", "cleartext", "fingerprint", "read", "read_cleartext", "sign"]

# 2000-01-01 UTC. A v4 fingerprint covers the key's creation time; a constant makes it follow from the public
# key alone, and lies before every commit, because gpgv refuses a signature that is older than its key.
CREATED: Final = 946684800

_P256: Final = bytes.fromhex("2a8648ce3d030107")  # 1.2.840.10045.3.1.7
_ECDSA, _SHA256 = 19, 8
_V4 = 4
_BINARY, _TEXT, _POSITIVE_CERTIFICATION = 0x00, 0x01, 0x13
_SIGNATURE_PACKET, _KEY_PACKET, _USER_PACKET = 2, 6, 13
_MADE_AT, _ISSUER, _PREFERRED_CIPHERS, _PREFERRED_HASHES, _USAGE, _ISSUER_FINGERPRINT = 2, 16, 11, 21, 27, 33
_CERTIFY_AND_SIGN: Final = b"\x03"
_AES: Final = b"\x09\x08\x07"
_SHA2: Final = b"\x08\x0a\x09"
_LATEST: Final = 2**32 - 1
_CLEARTEXT: Final = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
_SIGNATURE_BEGINS: Final = b"-----BEGIN PGP SIGNATURE-----\n"
_ARMOR: Final = re.compile(
    r"-----BEGIN PGP SIGNATURE-----\n\n((?:[A-Za-z0-9+/=]{1,64}\n)+)=[A-Za-z0-9+/]{4}\n"
    r"-----END PGP SIGNATURE-----\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What a detached signature says: the ECDSA signature (DER) and its time (seconds since the epoch)."""

    der: bytes
    time: int


def fingerprint(public: PublicKey) -> str:
    """The v4 fingerprint, as gpg shows it: 40 hexadecimal digits. (SHA-1 names the key here, it signs
    nothing.)
    """
    return _fingerprint(public).hex().upper()


def certificate(key: Key) -> bytes:
    """The public key with a signed user name, binary: what gpgv takes as a keyring."""
    user = f"{key.name} (release signing key)".encode()
    body = _key_body(key.public)
    subject = _framed_key(body) + b"\xb4" + struct.pack(">I", len(user)) + user
    extra = (
        _subpacket(_USAGE, _CERTIFY_AND_SIGN)
        + _subpacket(_PREFERRED_CIPHERS, _AES)
        + _subpacket(_PREFERRED_HASHES, _SHA2)
    )
    head = _hashed_head(_POSITIVE_CERTIFICATION, key.public, CREATED, extra)
    signed = _signature_packet(key.public, head, subject, key.sign(_covered(head, subject)))
    return _packet(_KEY_PACKET, body) + _packet(_USER_PACKET, user) + signed


def sign(key: Key, data: bytes, *, time: int) -> bytes:
    """An armored detached signature over *data*, said to be made at *time* (never before the key)."""
    return _signed(key, data, _BINARY, time)


def cleartext(key: Key, text: bytes, *, time: int) -> bytes:
    """*text* with its signature below (RFC 4880, 7), as apt wants ``InRelease``.

    Its lines must be plain: no space at an end, no ``-`` at a beginning, a line feed after each. Raises ValueError.
    """
    if text != _plain(text):
        msg = "the text would be read otherwise than it was signed"
        raise ValueError(msg)
    return _CLEARTEXT + text + _signed(key, _canonical(text), _TEXT, time)


def read(text: bytes, data: bytes, public: PublicKey) -> Signature:
    """The signature in *text* if it is exactly what *public* would have written over *data*.

    Raises :class:`VerificationError` (without ``where``; the caller knows the file).
    """
    return _read(text, data, public, _BINARY)


def read_cleartext(message: bytes, public: PublicKey) -> bytes:
    """The text in *message* if that is exactly what :func:`cleartext` would have written with *public*'s key.

    Raises :class:`VerificationError` (without ``where``).
    """
    text, begins, _ = message.removeprefix(_CLEARTEXT).partition(_SIGNATURE_BEGINS)
    if not message.startswith(_CLEARTEXT) or not begins or text != _plain(text):
        raise VerificationError("not a text with an OpenPGP signature of a release")
    _read(message[len(_CLEARTEXT) + len(text) :], _canonical(text), public, _TEXT)
    return text


def armor(kind: str, data: bytes) -> bytes:
    """Text for *data* (RFC 4880, 6.2); *kind* is ``SIGNATURE`` or ``PUBLIC KEY BLOCK``."""
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    check = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()
    return f"-----BEGIN PGP {kind}-----\n\n{lines}\n={check}\n-----END PGP {kind}-----\n".encode()


def _plain(text: bytes) -> bytes:
    """*text* without what the cleartext framework would escape or leave out of the signature."""
    return b"".join(line.lstrip(b"-").rstrip(b" \t\r") + b"\n" for line in text.split(b"\n")[:-1])


def _canonical(text: bytes) -> bytes:
    """What is signed of a text: the line break before the signature is not part of it."""
    return text.removesuffix(b"\n").replace(b"\n", b"\r\n")


def _signed(key: Key, data: bytes, kind: int, time: int) -> bytes:
    time = min(max(time, CREATED), _LATEST)
    head = _hashed_head(kind, key.public, time)
    return _armored(key.public, data, Signature(der=key.sign(_covered(head, data)), time=time), kind)


def _read(text: bytes, data: bytes, public: PublicKey, kind: int) -> Signature:
    found = _numbers(text)
    if _armored(public, data, found, kind) != text:
        raise VerificationError("not an OpenPGP signature by this key over these bytes")
    head = _hashed_head(kind, public, found.time)
    if not public.check(found.der, _covered(head, data)):
        raise VerificationError("the OpenPGP signature is wrong")
    return found


def _armored(public: PublicKey, data: bytes, signature: Signature, kind: int) -> bytes:
    head = _hashed_head(kind, public, signature.time)
    return armor("SIGNATURE", _signature_packet(public, head, data, signature.der))


def _numbers(text: bytes) -> Signature:
    """Time and ECDSA numbers, from where our writer puts them; the caller compares all the rest."""
    found = _ARMOR.fullmatch(text.decode("latin-1"))
    try:
        packet = base64.b64decode(found[1].replace("\n", "") if found else "", validate=True)
        hashed = (
            2 + 6 + 23 + 2
        )  # packet header; version … length; issuer fingerprint; length and type of the next subpacket
        time = struct.unpack_from(">I", packet, hashed)[0]
        r, rest = _integer(packet[hashed + 4 + 2 + 10 + 2 :])
        s, rest = _integer(rest)
    except (binascii.Error, struct.error, ValueError) as error:
        raise VerificationError("not an OpenPGP signature of a release") from error
    return Signature(der=encode_dss_signature(r, s), time=time)


def _integer(data: bytes) -> tuple[int, bytes]:
    bits = struct.unpack_from(">H", data)[0]
    size = (bits + 7) // 8
    return int.from_bytes(data[2 : 2 + size], "big"), data[2 + size :]


def _key_body(public: PublicKey) -> bytes:
    return bytes([_V4]) + struct.pack(">I", CREATED) + bytes([_ECDSA, len(_P256)]) + _P256 + _mpi(public.point)


def _framed_key(body: bytes) -> bytes:
    return b"\x99" + struct.pack(">H", len(body)) + body


def _fingerprint(public: PublicKey) -> bytes:
    return hashlib.sha1(_framed_key(_key_body(public)), usedforsecurity=False).digest()


def _hashed_head(kind: int, public: PublicKey, time: int, extra: bytes = b"") -> bytes:
    """The part of a signature packet that is signed (RFC 4880, 5.2.3)."""
    issuer = _subpacket(_ISSUER_FINGERPRINT, bytes([_V4]) + _fingerprint(public))
    hashed = issuer + _subpacket(_MADE_AT, struct.pack(">I", time)) + extra
    return bytes([_V4, kind, _ECDSA, _SHA256]) + struct.pack(">H", len(hashed)) + hashed


def _covered(head: bytes, data: bytes) -> bytes:
    """What is signed: the data, the head, and the trailer of version 4 (RFC 4880, 5.2.4)."""
    return data + head + bytes([_V4, 0xFF]) + struct.pack(">I", len(head))


def _signature_packet(public: PublicKey, head: bytes, data: bytes, der: bytes) -> bytes:
    unhashed = _subpacket(_ISSUER, _fingerprint(public)[-8:])
    first_bits = hashlib.sha256(_covered(head, data)).digest()[:2]
    numbers = b"".join(
        _mpi(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in decode_dss_signature(der)
    )
    return _packet(_SIGNATURE_PACKET, head + struct.pack(">H", len(unhashed)) + unhashed + first_bits + numbers)


def _packet(tag: int, body: bytes) -> bytes:
    """A packet of the new format; ours are all shorter than 192 bytes (one byte of length) or than 8,384
    (two).
    """
    size = len(body)
    length = bytes([size]) if size < 192 else bytes([((size - 192) >> 8) + 192, (size - 192) & 0xFF])
    return bytes([0xC0 | tag]) + length + body


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _mpi(number: bytes) -> bytes:
    number = number.lstrip(b"\0")
    return struct.pack(">H", int.from_bytes(number, "big").bit_length()) + number


def _crc24(data: bytes) -> int:
    value = 0xB704CE
    for byte in data:
        value ^= byte << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return value & 0xFFFFFF
