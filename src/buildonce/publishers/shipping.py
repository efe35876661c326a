"""Brings cargo into one repository of a registry, in the order that lets nobody see half of it, and reads it back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers.cargo import Blob, Document, Referrers, Signatures, Tag
from buildonce.publishers.parcels import Parcel, require_same
from buildonce.publishers.together import answers
from buildonce.system import files
from buildonce.system.archive import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buildonce.publishers.cargo import Cargo
    from buildonce.registry import Registry, Repository

__all__ = ["Shipping"]

_TRIES: Final = 5
_OCTETS: Final = "application/octet-stream"


_Thing = TypeVar("_Thing")
_Said = TypeVar("_Said")


class Shipping:
    """*cargo* on its way into the repository of *registry*.

    What the repositories *mount* of the same registry have is taken from there. Every method raises
    :class:`ReleaseError` when the registry fails or says no.
    """

    def __init__(self, registry: Registry, cargo: Cargo, mount: Sequence[Repository] = ()) -> None:
        self._registry, self._cargo, self._mount = registry, cargo, mount
        self._missing: set[str] = set()

    def parcels(self) -> tuple[Parcel, ...]:
        """All that has to be there, and whether it is. Changes nothing.

        Raises :class:`VerificationError` when a tag is there for another manifest.
        """
        cargo = self._cargo
        things = (*cargo.blobs, *cargo.documents, *cargo.listings, *cargo.tags)
        found = tuple(one for one in self._asked(self._parcel, things) if one)
        self._missing = {one.name for one in found if not one.there}
        return found

    def _asked(self, question: Callable[[_Thing], _Said], things: Sequence[_Thing]) -> list[_Said]:
        return answers(question, things, stop=self._registry.stop)

    def _parcel(self, thing: Blob | Document | Referrers | Signatures | Tag) -> Parcel | None:
        match thing:
            case Blob(title=title, digest=digest, size=size):
                return Parcel(name=title, sha256=digest, size=size, there=self._registry.has_blob(digest))
            case Document(title=title, data=data):
                there = self._registry.manifest(f"sha256:{thing.digest}") is not None
                return Parcel(name=title, sha256=thing.digest, size=len(data), there=there)
            case Tag(name=name, document=document):
                there = self._is_tagged(thing)
                return Parcel(name=f"tag {name}", sha256=document.digest, size=len(document.data), there=there)
            case Referrers() | Signatures():
                if self._is_listed(thing):
                    return None
                before = self._registry.manifest(thing.tag)
                after, _ = thing.merged(before)
                same = before == after
                return Parcel(name=thing.title, sha256=files.sha256_bytes(after), size=len(after), there=same)

    def send(self, parcel: Parcel, came: Callable[[int], None]) -> None:
        """Send the blob *parcel*. Manifests and tags wait for :meth:`reveal`: registries want their blobs first."""
        blob = next((one for one in self._cargo.blobs if one.title == parcel.name), None)
        if blob:
            self._send(blob, came)
        came(parcel.size)

    def _send(self, blob: Blob, came: Callable[[int], None] = lambda _: None) -> None:
        match blob.source:
            case bytes(data):
                self._registry.push_bytes(data, _OCTETS)
            case Part() as part:
                self._registry.push_blob(part, blob.digest, came=came, mount=self._mount)
            case source:
                if not self._registry.mount_blob(blob.digest, source.repository):
                    self._carry(blob, source, came)

    def _carry(self, blob: Blob, source: Registry, came: Callable[[int], None]) -> None:
        """From one registry to another, through a file here."""
        with tempfile.TemporaryDirectory(prefix="buildonce-") as folder:
            part = Path(folder, blob.digest)
            part.touch()
            if not source.read_blob(blob.digest, part, size=blob.size):
                raise ReleaseError(f"the blob sha256:{blob.digest} is gone", where=str(source.repository))
            require_same(files.sha256_file(part), blob.digest, where=str(source.repository))
            self._registry.push_blob(part, blob.digest, came=came)

    def reveal(self) -> None:
        """Manifests, then the listings that lead to signatures, then the tags; changes nothing that is so already."""
        for document in self._cargo.documents:
            if self._registry.manifest(f"sha256:{document.digest}") is None:
                self._registry.push_manifest(document.data, media_type=document.media_type)
        for listing in self._cargo.listings:
            if not self._is_listed(listing):
                self._list(listing)
        for tag in self._cargo.tags:
            if not self._is_tagged(tag):
                self._registry.push_manifest(tag.document.data, tag.name, media_type=tag.document.media_type)

    def _list(self, listing: Referrers | Signatures) -> None:
        """Add to what is listed, until it stays there: others may add theirs at the same time."""
        for _ in range(_TRIES):
            before = self._registry.manifest(listing.tag)
            after, blobs = listing.merged(before)
            if after == before:
                return
            for blob in blobs:
                self._send(blob)
            self._registry.push_manifest(after, listing.tag, media_type=listing.media_type)
        if listing.merged(found := self._registry.manifest(listing.tag))[0] != found:
            raise ReleaseError(
                f"the tag {listing.tag} is written by somebody else all the time",
                where=str(self._registry.repository),
                hint="run the same line again, when nobody else publishes there",
            )

    def _is_listed(self, listing: Referrers | Signatures) -> bool:
        """Whether the registry itself lists what refers to a manifest: that needs nothing from us."""
        return isinstance(listing, Referrers) and self._registry.referrers(listing.subject) is not None

    def _is_tagged(self, tag: Tag) -> bool:
        """Whether the tag is there. Raises :class:`VerificationError` when it is for another manifest."""
        found = self._registry.manifest(tag.name)
        if found is not None:
            require_same(files.sha256_bytes(found), tag.document.digest, where=self._at(tag.name))
        return found is not None

    def _at(self, tag: str) -> str:
        return f"{self._registry.repository}:{tag}"

    def read_back(self) -> None:
        """Fetch all manifests and what was sent, ask for the rest, and compare.

        Raises :class:`VerificationError` for what is not there or has other bytes.
        """
        for tag in self._cargo.tags:
            if not self._is_tagged(tag):
                raise VerificationError("the tag is not there", where=self._at(tag.name))
        for document in self._cargo.documents:
            if self._registry.manifest(f"sha256:{document.digest}") != document.data:
                raise VerificationError(f"the {document.title} is not there", where=str(self._registry.repository))
        for listing in self._cargo.listings:
            self._require_listed(listing)
        for blob, there in zip(self._cargo.blobs, self._asked(self._is_there, self._cargo.blobs), strict=True):
            if not there:
                raise VerificationError(f"the {blob.title} is not there", where=str(self._registry.repository))

    def _require_listed(self, listing: Referrers | Signatures) -> None:
        rows = self._registry.referrers(listing.subject) if isinstance(listing, Referrers) else None
        if rows is None:
            before = self._registry.manifest(listing.tag)
            lost = before is None or listing.merged(before)[0] != before
        else:
            lost = not {row["digest"] for row in listing.rows} <= {row.get("digest") for row in rows}
        if lost:
            raise VerificationError(
                f"some of {listing.title} are not there",
                where=self._at(listing.tag),
                hint="run the same line again: what others add at the same time can take their place",
            )

    def _is_there(self, blob: Blob) -> bool:
        """Whether a blob is there: one that was sent now is fetched, one that was there before is asked for."""
        if blob.title not in self._missing:
            return self._registry.has_blob(blob.digest)
        with tempfile.TemporaryDirectory(prefix="buildonce-") as folder:
            part = Path(folder, blob.digest)
            part.touch()
            if not self._registry.read_blob(blob.digest, part, size=blob.size):
                return False
            require_same(files.sha256_file(part), blob.digest, where=f"{self._registry.repository}: {blob.title}")
        return True
