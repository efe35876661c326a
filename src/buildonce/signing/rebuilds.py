"""Who built a release again and got the same bytes: ``attestations/<signer>/vsa.sigstore.json``.

A SLSA Verification Summary (slsa.dev/spec/v1.2/verification_summary) with the verified property
``SLSA_BUILD_REPRODUCED``, beside the rebuilder's own provenance, which it names. What it says follows from the
release and the key alone, so that it is checked by writing it anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce import provenance, purl, statement
from buildonce.errors import Problem, VerificationError
from buildonce.signing import attestations, bundle, dsse, folder
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.provenance import Mode
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["Rebuilds", "count", "write"]

_PROPERTY: Final = "SLSA_BUILD_REPRODUCED"
_SLSA: Final = "1.2"
_VERIFIER: Final = "urn:buildonce:verifier:reproduce:v1"
_POLICY: Final = "urn:buildonce:policy:every-artifact-identical:v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilds:
    """Trusted keys that attest a rebuild, each once, without the one that signed the release; and what did not
    count, with the reason.
    """

    by: tuple[PublicKey, ...] = ()
    refused: tuple[Problem, ...] = ()


def write(release: Path, said: Manifest, key: Key, mode: Mode) -> Path:
    """Add all statements of the rebuilder *key* to *release*; answers their folder.

    *release* needs to hold only the documents. Nothing that is signed already changes.
    """
    attestations.write(release, said, key, mode)
    place = release / attestations.PLACE / key.public.folder
    payload = _summary(release, said, key.public)
    files.write_atomically(place / attestations.VSA, bundle.write(dsse.sign(key, payload)))
    return place


def count(
    release: Path,
    said: Manifest,
    *,
    signers: Sequence[PublicKey],
    releasers: Collection[PublicKey],
    trusted: Sequence[PublicKey],
) -> Rebuilds:
    """The rebuilders of *release* among *trusted*: those of *signers* that also attest a rebuild.

    A rebuild by one of *releasers*, whose key signed the release itself, tells nothing new. What cannot be read
    or believed is named and not counted; it is no error of the release.
    """
    found: dict[PublicKey, None] = {}
    refused: list[Problem] = []
    for name in folder.names(release, attestations.PLACE):
        where = f"{attestations.PLACE}/{name}/{attestations.VSA}"
        if not os.path.lexists(release / where):
            continue
        try:
            public = _rebuilder(release, said, where, trusted)
            if public in releasers:
                raise VerificationError(f"is by {public.name}, whose key signed the release itself", where=where)
            if public in found:
                raise VerificationError(f"is by {public.name} again: a key counts once", where=where)
            if public not in signers:
                raise VerificationError(f"{public.name} did not sign the provenance of a rebuild", where=where)
            found[public] = None
        except VerificationError as error:
            refused.append(error.problems[0])
    return Rebuilds(by=tuple(found), refused=tuple(refused))


def _rebuilder(release: Path, said: Manifest, where: str, trusted: Sequence[PublicKey]) -> PublicKey:
    envelope = bundle.parse(folder.read(release, where, bundle.MOST_BYTES), where=where)
    public = next((one for one in trusted if one.keyid == envelope.keyid), None)
    if public is None:
        raise VerificationError(f"is by a key that is not trusted: {envelope.keyid[:80]}", where=where)
    if not envelope.is_by(public):
        raise VerificationError(f"is not as {public.name} signed it", where=where)
    about = statement.read(envelope.payload, where=where, predicate_type=statement.SUMMARY).subjects
    if about != statement.subjects(said.artifacts):
        raise VerificationError("is about other artifacts", where=where)
    if envelope.payload != _summary(release, said, public):
        raise VerificationError("does not say that this release was built again with the same result", where=where)
    return public


def _summary(release: Path, said: Manifest, public: PublicKey) -> bytes:
    own = f"{attestations.PLACE}/{public.folder}/{attestations.PROVENANCE}"
    used = {
        provenance.FILE: folder.read(release, provenance.FILE),
        own: folder.read(release, own, bundle.MOST_BYTES),
    }
    return statement.make(
        statement.SUMMARY,
        statement.subjects(said.artifacts),
        {
            "verifier": {"id": _VERIFIER, "version": {"buildonce": said.tools.get("buildonce", "")}},
            "resourceUri": str(purl.pypi(said.distribution, said.version.pep440)),
            "policy": {"uri": _POLICY},
            "inputAttestations": [
                {"uri": name, "digest": {"sha256": files.sha256_bytes(data)}} for name, data in used.items()
            ],
            "verificationResult": "PASSED",
            "verifiedLevels": [_PROPERTY],
            "slsaVersion": _SLSA,
        },
    )
