"""Signs the folder of a release, and verifies one: who signed, and whether every byte is what they signed.

``SHA256SUMS`` is signed in three forms: bare (openssl), for SSH (ssh-keygen), for OpenPGP (gpgv). Release,
provenance and SBOM are signed as statements in sigstore bundles (cosign). One key makes them all; others add
a folder below ``attestations/``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from buildonce import manifest, provenance, statement
from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import attestations, folder, openpgp, raw, rebuilds, sshsig, sums
from buildonce.signing.rebuilds import Rebuilds
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import Digest
    from buildonce.provenance import Mode
    from buildonce.signing.keys import Key
    from buildonce.signing.public import PublicKey

__all__ = ["FORMS", "Verified", "attest", "documents", "sign", "verify"]

_LOGS: Final = "log"
_DOCUMENTS: Final = (manifest.FILE, provenance.FILE, attestations.SBOM)
_MOST_SIGNATURE_BYTES: Final = 64 << 10
FORMS: Final[dict[str, Callable[[bytes, bytes, PublicKey], object]]] = {
    f"{sums.FILE}.sig": raw.verify,
    f"{sums.FILE}.sshsig": sshsig.verify,
    f"{sums.FILE}.asc": openpgp.read,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A release whose every byte was signed by each of *signers* (a key counts once).

    *others* are folders of attestations by keys that are not trusted: neither believed nor an error.
    *files* is what ``SHA256SUMS`` lists, with the digests; *releasers* are those of the trusted keys that signed it.
    """

    manifest: Manifest
    signers: tuple[PublicKey, ...]
    others: tuple[str, ...]
    files: Mapping[str, Digest]
    releasers: tuple[PublicKey, ...]
    rebuilds: Rebuilds = field(default_factory=Rebuilds)


def sign(release: Path, key: Key, *, mode: Mode = "workstation") -> None:
    """Sign the finished folder *release* (its ``SHA256SUMS`` is there) in every form. Doing it again gives
    the same bytes.

    *mode* is the kind of machine that built it; the signed provenance says so.
    Raises :class:`VerificationError` when the folder is not a whole release: nothing else is ever signed.
    """
    listing = folder.read(release, sums.FILE)
    said = _manifest(release, listing)
    for name, data in (
        (f"{sums.FILE}.sig", raw.sign(key, listing)),
        (f"{sums.FILE}.sshsig", sshsig.sign(key, listing)),
        (f"{sums.FILE}.asc", openpgp.sign(key, listing, time=said.source.epoch)),
    ):
        files.write_atomically(release / name, data)
    attestations.write(release, said, key, mode)


def attest(release: Path, key: Key, *, mode: Mode) -> None:
    """Add the attestations of *key* alone: how a second person signs a release, beside the first."""
    attestations.write(release, _manifest(release, folder.read(release, sums.FILE)), key, mode)


def verify(release: Path, trusted: Sequence[PublicKey]) -> Verified:
    """The release in the folder *release*: every form of signature there, by a trusted key, over every byte
    that is there.

    Raises :class:`VerificationError` that names the first file that is not as it was signed.
    """
    found = documents(release, trusted)
    said, listed = found.manifest, found.files
    folder.require_only(release, ".", {*listed, sums.FILE, *FORMS, attestations.PLACE, _LOGS})
    _require_digests(release, listed)
    signers, others = attestations.signers(release, said, trusted)
    if not signers:
        raise VerificationError(
            "no trusted key signed the statements" + (f", but {', '.join(others)} did" if others else ""),
            where=attestations.PLACE,
            hint=_trusted(trusted),
        )
    built_again = rebuilds.count(release, said, signers=signers, releasers=found.releasers, trusted=trusted)
    return replace(found, signers=signers, others=others, rebuilds=built_again)


def documents(release: Path, trusted: Sequence[PublicKey]) -> Verified:
    """What the signed documents in *release* say, when the artifacts and the attestations are not all there.

    Artifacts are not looked at. Raises :class:`VerificationError` as :func:`verify` does.
    """
    if not trusted:
        raise ReleaseError("no key to verify with", hint="name the signer's public key with --key NAME.pub")
    listing = folder.read(release, sums.FILE)
    releasers = _releasers(release, listing, trusted)
    said = _manifest(release, listing)
    return Verified(manifest=said, signers=releasers, others=(), files=sums.read(listing), releasers=releasers)


def _releasers(release: Path, listing: bytes, trusted: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
    """Who signed *listing*. Raises unless every form is a signature by a trusted key."""
    by = {
        name: _signed_by(partial(check, folder.read(release, name, _MOST_SIGNATURE_BYTES), listing), trusted)
        for name, check in FORMS.items()
    }
    wrong = [name for name, public in by.items() if public is None]
    if len(wrong) == len(FORMS):
        raise VerificationError(
            "no trusted key signed it, or it was changed since", where=sums.FILE, hint=_trusted(trusted)
        )
    if wrong:
        raise VerificationError(
            f"is not a signature over {sums.FILE} by a trusted key", where=wrong[0], hint=_trusted(trusted)
        )
    return tuple(dict.fromkeys(public for public in by.values() if public))


def _signed_by(check: Callable[[PublicKey], object], trusted: Sequence[PublicKey]) -> PublicKey | None:
    """The one of *trusted* that passes *check*. All are tried: what a file says of its signer is no proof."""
    for public in trusted:
        with contextlib.suppress(VerificationError):
            check(public)
            return public
    return None


def _trusted(trusted: Sequence[PublicKey]) -> str:
    known = ", ".join(f"{public.name} ({public.keyid})" for public in trusted)
    return f"trusted is {known}; name another signer's public key with --key"


def _manifest(release: Path, listing: bytes) -> Manifest:
    """The manifest, if SHA256SUMS lists the artifacts with its digests, the documents with theirs, and
    nothing else.
    """
    listed = sums.read(listing)
    data = {name: folder.read(release, name) for name in _DOCUMENTS}
    documents = {name: files.sha256_bytes(data[name]) for name in _DOCUMENTS}
    for name, found in documents.items():
        if listed.get(name) != found:
            raise VerificationError(f"its sha256 is {found}, but {sums.FILE} has {listed.get(name)}", where=name)
    said = manifest.read(data[manifest.FILE])
    expected = {**documents, **statement.subjects(said.artifacts)}
    for name in sorted(listed.keys() | expected.keys()):
        if listed.get(name) != expected.get(name):
            raise VerificationError(f"{name} is not listed as {manifest.FILE} has it", where=sums.FILE)
    return said


def _require_digests(release: Path, listed: Mapping[str, Digest]) -> None:
    for name in listed:
        folder.require_plain(release, name)
    for name, found in sums.digests(release, listed).items():
        if found != listed[name]:
            raise VerificationError(f"its sha256 is {found}, but {listed[name]} was signed", where=name)
