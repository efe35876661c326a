"""The signed statements of a release: ``attestations/<signer>/{release,provenance,sbom}.sigstore.json``, a
folder for each signer. Who rebuilt it has ``vsa.sigstore.json`` as well: :mod:`buildonce.signing.rebuilds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce import provenance, statement
from buildonce.errors import VerificationError
from buildonce.signing import bundle, dsse, folder
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.provenance import Mode
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["PLACE", "PROVENANCE", "SBOM", "VSA", "signers", "write"]

PLACE: Final = "attestations"
SBOM: Final = "sbom.cdx.json"
_SUFFIX: Final = ".sigstore.json"
PROVENANCE: Final = f"provenance{_SUFFIX}"
VSA: Final = f"vsa{_SUFFIX}"


def write(release: Path, said: Manifest, key: Key, mode: Mode) -> None:
    """Sign the three statements of *release* with *key*."""
    payloads = {
        "release": said.data,
        "provenance": provenance.by(folder.read(release, provenance.FILE), mode),
        "sbom": _sbom(release, said),
    }
    for name, payload in payloads.items():
        place = release / PLACE / key.public.folder / f"{name}{_SUFFIX}"
        files.write_atomically(place, bundle.write(dsse.sign(key, payload)))


def signers(
    release: Path, said: Manifest, trusted: Sequence[PublicKey]
) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """Who signed all three: the trusted keys, each once whatever it is called, and the folders of everybody
    else.

    Raises :class:`VerificationError` for a bundle that cannot be read, or that names a trusted key and is not
    as that key signed it.
    """
    by_keyid = {public.keyid: public for public in trusted}
    found: dict[PublicKey, None] = {}
    others: list[str] = []
    for name in folder.names(release, PLACE):
        signer = _signer(release, f"{PLACE}/{name}", said, by_keyid.get)
        if signer:
            found[signer] = None
        else:
            others.append(name)
    return tuple(found), tuple(others)


def _signer(release: Path, place: str, said: Manifest, find: Callable[[str], PublicKey | None]) -> PublicKey | None:
    """The trusted key that signed the three statements in *place*; None when they name a key that is not
    trusted.
    """
    folder.require_only(release, place, {VSA, *(f"{name}{_SUFFIX}" for name in _CHECKS)})
    envelopes = {name: _envelope(release, f"{place}/{name}{_SUFFIX}") for name in _CHECKS}
    keyids = {envelope.keyid for envelope in envelopes.values()}
    if len(keyids) != 1:
        raise VerificationError("its bundles name several keys", where=place)
    public = find(keyids.pop())
    if public is None:
        return None
    for name, check in _CHECKS.items():
        where, envelope = f"{place}/{name}{_SUFFIX}", envelopes[name]
        if not envelope.is_by(public) or not check(release, said, envelope.payload, where):
            raise VerificationError(f"is not {public.name}'s statement about this release", where=where)
    return public


def _envelope(release: Path, name: str) -> dsse.Envelope:
    return bundle.parse(folder.read(release, name, bundle.MOST_BYTES), where=name)


def _is_release(_release: Path, said: Manifest, payload: bytes, _where: str) -> bool:
    return payload == said.data


def _is_provenance(release: Path, said: Manifest, payload: bytes, where: str) -> bool:
    """Whether *payload* is provenance.json but for the builder, which its signer names, and about the same
    artifacts.
    """
    document = folder.read(release, provenance.FILE)
    about = statement.read(document, where=provenance.FILE, predicate_type=statement.PROVENANCE).subjects
    return about == statement.subjects(said.artifacts) and provenance.unsigned(payload, where=where) == document


def _is_sbom(release: Path, said: Manifest, payload: bytes, _where: str) -> bool:
    return payload == _sbom(release, said)


def _sbom(release: Path, said: Manifest) -> bytes:
    """The SBOM as a statement about the artifacts."""
    value = canonical.load_canonical(folder.read(release, SBOM), where=SBOM)
    document = canonical.Fields.of(value, SBOM)
    document.one_of("bomFormat", "CycloneDX")
    return statement.make(statement.CYCLONEDX, statement.subjects(said.artifacts), document.value)


_CHECKS: Final[dict[str, Callable[[Path, Manifest, bytes, str], bool]]] = {
    "release": _is_release,
    "provenance": _is_provenance,
    "sbom": _is_sbom,
}
