"""The sigstore bundle v0.3 (sigstore/protobuf-specs): a DSSE envelope and the name of the key.

``cosign verify-blob-attestation`` reads it. Signed with a key of one's own, without a transparency log:
``tlogEntries`` is empty and cosign is told ``--insecure-ignore-tlog``.
"""

from __future__ import annotations

from typing import Final

from buildonce.errors import VerificationError
from buildonce.signing import dsse
from buildonce.system import canonical

__all__ = ["MEDIA_TYPE", "MOST_BYTES", "parse", "write"]

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
MOST_BYTES: Final = 2 * canonical.MOST_BYTES  # a payload grows by a third in base64


def write(envelope: dsse.Envelope) -> bytes:
    """The bundle's bytes. The hint has to equal the envelope's keyid (the proto says so)."""
    return canonical.dump(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": envelope.keyid}, "tlogEntries": []},
            "dsseEnvelope": envelope.to_json(),
        }
    )


def parse(data: bytes, *, where: str) -> dsse.Envelope:
    """The envelope in a bundle as :func:`write` spells it; nothing is verified yet. Raises
    :class:`VerificationError`.
    """
    value = canonical.load_canonical(data, where=where, most=MOST_BYTES)
    fields = canonical.Fields.of(value, where).only("mediaType", "verificationMaterial", "dsseEnvelope")
    fields.one_of("mediaType", MEDIA_TYPE)
    material = fields.fields("verificationMaterial").only("publicKey", "tlogEntries")
    if material.items("tlogEntries"):
        raise material.wrong("tlogEntries", "has to be empty: this bundle is verified with a key, not with a log")
    hint = material.fields("publicKey").only("hint").text("hint")
    envelope = dsse.parse(fields.fields("dsseEnvelope"))
    if hint != envelope.keyid:
        raise VerificationError("names one key in the bundle and another in its envelope", where=where)
    return envelope
