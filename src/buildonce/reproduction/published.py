"""Finds a release that somebody published, in a folder or on a server, and verifies it before anything is believed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from buildonce import manifest, provenance, verification
from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import attestations, folder, release, sums
from buildonce.system import files
from buildonce.system.net import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.signing import PublicKey
    from buildonce.signing.release import Verified
    from buildonce.system import System

__all__ = ["Published", "find"]

_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_DOCUMENTS: Final = (sums.FILE, *release.FORMS, manifest.FILE, provenance.FILE, attestations.SBOM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A verified release. ``folder`` has its documents, and those artifacts that came with them."""

    folder: Path
    verified: Verified
    provenance: bytes
    url: str = ""  # where the artifacts are, when the release is on a server; ends with "/"

    def artifact(self, name: str, system: System) -> Path | None:
        """The published file *name*, fetched now if need be, with the signed digest; None when it is not to be had."""
        place = self.folder / name
        if self.url and not place.exists():
            try:
                system.net.download(self.url + quote(name), place)
            except ReleaseError as error:
                system.progress.note(f"{name} cannot be fetched: {error}")
                place.unlink(missing_ok=True)
                return None
            _require_digest(place, self.verified)
        return place if place.is_file() else None


def find(where: str, root: Path, trusted: Sequence[PublicKey], into: Path, system: System) -> Published:
    """The release at *where*: a folder, the ``release.json`` in it, or the URL of either. Names start at *root*.

    Of a URL only the documents are fetched, into the new folder *into*. Raises :class:`VerificationError` when a
    signature or a digest is wrong, :class:`ReleaseError` when there is no release.
    """
    if _URL.match(where):
        url = where.removesuffix(manifest.FILE).rstrip("/") + "/"
        system.progress.step(f"fetch the documents of the release at {shown(url)}")
        into.mkdir()
        for name in _DOCUMENTS:
            (into / name).write_bytes(system.net.read(url + quote(name)))
        return _verified(into, trusted, url=url)
    place = root / Path(where).expanduser()
    if place.is_file() and place.name == manifest.FILE:
        place = place.parent
    if not (place / manifest.FILE).is_file():
        raise ReleaseError(
            f"there is no release here: no {manifest.FILE}",
            where=str(place),
            hint="name the folder of a release such as dist/NAME-VERSION, its release.json, or the URL of one",
        )
    system.progress.step("signatures and digests of the release")
    return _verified(place, trusted)


def _verified(place: Path, trusted: Sequence[PublicKey], url: str = "") -> Published:
    verified = verification.signed(place, trusted, whole=False)
    there = [name for name in verified.files if (place / name).exists()]
    if len(there) == len(verified.files) and (place / attestations.PLACE).exists():
        verified = verification.signed(place, trusted)
    else:  # somebody kept only a part; what is there must still be what was signed
        for name in there:
            folder.require_plain(place, name)
            _require_digest(place / name, verified)
    return Published(folder=place, verified=verified, provenance=folder.read(place, provenance.FILE), url=url)


def _require_digest(place: Path, verified: Verified) -> None:
    found, signed = files.sha256_file(place), verified.files[place.name]
    if found != signed:
        raise VerificationError(
            f"its sha256 is {found}, but {signed} was signed",
            where=place.name,
            hint="it was changed after it was signed: fetch the release again from where it was published",
        )
