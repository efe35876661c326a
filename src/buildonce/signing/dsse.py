"""DSSE 1.0 (secure-systems-lab/dsse): a payload with its type, and signatures over both together."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey
    from buildonce.system.canonical import Fields

__all__ = ["IN_TOTO", "Envelope", "parse", "sign"]

IN_TOTO: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A payload and ONE signature: sigstore bundles allow no more, and several signers are several files."""

    payload: bytes
    keyid: str  # a hint; which key signed is decided by the key's bytes
    signature: bytes  # DER

    def is_by(self, public: PublicKey) -> bool:
        """Whether *public* signed the payload as an in-toto statement."""
        return public.check(self.signature, preauthentication(self.payload))

    def to_json(self) -> dict[str, object]:
        """The envelope in JSON's values."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}],
        }


def preauthentication(payload: bytes) -> bytes:
    """What is signed (PAE): lengths and type are part of it, so that no payload can be read as another."""
    return b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)


def sign(key: Key, payload: bytes) -> Envelope:
    """*payload*, an in-toto statement, signed."""
    return Envelope(payload=payload, keyid=key.public.keyid, signature=key.sign(preauthentication(payload)))


def parse(fields: Fields) -> Envelope:
    """The envelope in *fields*; nothing is verified yet. Raises :class:`VerificationError`."""
    fields.only("payload", "payloadType", "signatures").one_of("payloadType", IN_TOTO)
    signatures = fields.objects("signatures")
    if len(signatures) != 1:
        raise fields.wrong("signatures", f"holds {len(signatures)}; exactly one signature is required")
    signature = signatures[0].only("keyid", "sig")
    return Envelope(
        payload=_bytes(fields, "payload"), keyid=signature.text("keyid"), signature=_bytes(signature, "sig")
    )


def _bytes(fields: Fields, key: str) -> bytes:
    text = fields.text(key)
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong(key, "is not base64") from error
    if base64.b64encode(found).decode() != text:  # the last character of base64 has bits that decode to nothing
        raise fields.wrong(key, "is not spelled as base64 is")
    return found
