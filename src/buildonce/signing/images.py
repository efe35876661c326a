"""Signatures on images in a registry, in the two forms that programs look for; each names a manifest by its digest.

The older form is a tag, ``sha256-<digest>.sig``, on a manifest whose layers are payloads with their signatures: cosign
2 and 3, podman and skopeo read it. The payload names the image too, so that one signed as ``app:1`` does not pass for
``app:2``. The newer one is a sigstore bundle that refers to the manifest: cosign 3, which takes *any* statement of the
key in it for a signature. We do not: its type has to be :data:`SIGNED`.

Sources: cosign, ``specs/SIGNATURE_SPEC.md`` and ``specs/BUNDLE_SPEC.md``; containers/image, ``signature/internal``.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import VerificationError
from buildonce.signing import bundle, dsse
from buildonce.statement import CYCLONEDX, PROMOTION, PROVENANCE, TYPE
from buildonce.system import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import Digest
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = [
    "ANNOTATION",
    "PAYLOAD_TYPE",
    "PREDICATES",
    "SIGNED",
    "TITLES",
    "named",
    "payload",
    "sign",
    "signature_tag",
    "state",
    "stated",
]

SIGNED: Final = "https://sigstore.dev/cosign/sign/v1"
PREDICATES: Final[Mapping[str, str]] = {SIGNED: "signature", PROVENANCE: "provenance", CYCLONEDX: "SBOM"}
TITLES: Final[Mapping[str, str]] = {**PREDICATES, PROMOTION: "record of the promotion"}
PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION: Final = "dev.cosignproject.cosign/signature"
_KIND: Final = "cosign container image signature"


def signature_tag(digest: Digest) -> str:
    """The tag of the older form."""
    return f"sha256-{digest}.sig"


def payload(reference: str, digest: Digest) -> bytes:
    """What the older form signs: that the manifest *digest* is *reference* (``host/name:tag``)."""
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": f"sha256:{digest}"},
        "type": _KIND,
    }
    return canonical.dump({"critical": critical, "optional": None})  # readers refuse keys that they do not know


def sign(key: Key, data: bytes) -> str:
    """The signature of *key* over a payload, as the annotation holds it."""
    return base64.b64encode(key.sign(data)).decode()


def named(data: bytes, signature: str, digest: Digest, trusted: Sequence[PublicKey]) -> str | None:
    """What the payload *data* calls the manifest *digest*; None unless one of *trusted* signed it, of this digest."""
    signed = _base64(signature)
    if signed is None or not any(public.check(signed, data) for public in trusted):
        return None
    critical = canonical.Fields.of(canonical.load(data, where="payload"), "payload").fields("critical")
    about = critical.fields("image").text("docker-manifest-digest")
    if about != f"sha256:{digest}" or critical.text("type") != _KIND:
        return None
    return critical.fields("identity").text("docker-reference")


def state(key: Key, digest: Digest, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A bundle with the signed statement *predicate* about the manifest *digest*."""
    statement = {
        "_type": TYPE,
        "subject": [{"digest": {"sha256": digest}}],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return bundle.write(dsse.sign(key, canonical.dump(statement)))


def stated(data: bytes, digest: Digest, trusted: Sequence[PublicKey]) -> tuple[str, Mapping[str, Any]] | None:
    """The type of the statement in the bundle *data* and what it says; None unless one of *trusted* signed it, about
    this *digest*.

    Bundles that cosign wrote are read as well.
    """
    try:
        return _stated(data, digest, trusted)
    except VerificationError:
        return None  # what others attached may be anything


def _stated(data: bytes, digest: Digest, trusted: Sequence[PublicKey]) -> tuple[str, Mapping[str, Any]] | None:
    where = "bundle"
    envelope = canonical.Fields.of(canonical.load(data, where=where), where).fields("dsseEnvelope")
    envelope.one_of("payloadType", dsse.IN_TOTO)
    body = _base64(envelope.text("payload"))
    signatures = [_base64(row.text("sig")) for row in envelope.objects("signatures")]
    if body is None or not any(
        public.check(one, dsse.preauthentication(body)) for one in signatures if one for public in trusted
    ):
        return None
    statement = canonical.Fields.of(canonical.load(body, where=where), where)
    statement.one_of("_type", TYPE)
    about = [row.fields("digest").value.get("sha256") for row in statement.objects("subject")]
    if about != [digest]:
        return None
    return statement.text("predicateType"), statement.fields("predicate").value


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
