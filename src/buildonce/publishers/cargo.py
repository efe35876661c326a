"""What goes to a container registry: values, in the order in which a registry takes them.

Blobs first, then the manifests that name them, then what others find these by: listings and tags. A manifest that was
made elsewhere travels as the bytes that it is, since its digest is what was signed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import VerificationError
from buildonce.registry.client import EMPTY, EMPTY_TYPE, INDEX_TYPE, MANIFEST_TYPE, Descriptor
from buildonce.signing import images
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from buildonce.model import Digest
    from buildonce.registry import Registry
    from buildonce.system.archive import Part

__all__ = ["Blob", "Cargo", "Document", "Referrers", "Signatures", "Tag", "empty", "referrer", "rows_of"]

_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """Bytes of which the registry knows the digest alone. *source*: in an archive, at hand, or in another registry."""

    title: str
    digest: Digest
    size: int
    source: Part | bytes | Registry = field(repr=False)

    @classmethod
    def of(cls, title: str, data: bytes) -> Blob:
        """A blob of bytes at hand."""
        return cls(title=title, digest=files.sha256_bytes(data), size=len(data), source=data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A manifest or an index, byte by byte."""

    title: str
    data: bytes = field(repr=False)
    media_type: str = MANIFEST_TYPE

    @property
    def digest(self) -> Digest:
        """What it is called."""
        return files.sha256_bytes(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        """How other manifests refer to it."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.data)).json()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A name for a manifest, given once."""

    name: str
    document: Document


@dataclass(frozen=True, kw_only=True, slots=True)
class Referrers:
    """What refers to *subject*, listed under a tag for registries that do not list it themselves.

    Distribution specification 1.1, "Referrers Tag Schema".
    """

    subject: Digest
    title: str
    rows: tuple[Mapping[str, Any], ...]
    media_type: str = INDEX_TYPE

    @property
    def tag(self) -> str:
        """Where readers look."""
        return f"sha256-{self.subject}"

    def merged(self, before: bytes | None) -> tuple[bytes, tuple[Blob, ...]]:
        """The listing *before* with our rows in it; the same bytes when they are. No blobs belong to it."""
        found = rows_of(before, "manifests", self.tag)
        new = _new(found, self.rows)
        if before is not None and not new:
            return before, ()
        made = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*found, *new]}
        return canonical.dump(made), ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Signatures:
    """The signatures on *subject* in the older form: layers of the manifest with its tag."""

    subject: Digest
    title: str
    rows: tuple[Mapping[str, Any], ...]
    media_type: str = MANIFEST_TYPE

    @property
    def tag(self) -> str:
        """Where readers look."""
        return images.signature_tag(self.subject)

    def merged(self, before: bytes | None) -> tuple[bytes, tuple[Blob, ...]]:
        """The manifest *before* with our layers in it, and its configuration; the same bytes when they are in it."""
        found = rows_of(before, "layers", self.tag)
        new = _new(found, self.rows)
        if before is not None and not new:
            return before, ()
        layers = [*found, *new]
        rootfs = {"type": "layers", "diff_ids": [row["digest"] for row in layers]}
        config = canonical.dump({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
        blob = Blob.of(f"configuration of the {self.title}", config)
        described = Descriptor(media_type=_CONFIG_TYPE, digest=blob.digest, size=blob.size).json()
        made = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described, "layers": layers}
        return canonical.dump(made), (blob,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cargo:
    """All of a release's images. Documents: an index after its images; tags: the version's own last."""

    blobs: tuple[Blob, ...] = ()
    documents: tuple[Document, ...] = ()
    tags: tuple[Tag, ...] = ()
    listings: tuple[Referrers | Signatures, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[Cargo]) -> Cargo:
        """All of *parts*, in their order; what several have is there once."""
        every = tuple(parts)
        listings: dict[str, Referrers | Signatures] = {}
        for listing in (listing for one in every for listing in one.listings if listing.rows):
            before = listings.get(listing.tag)
            listings[listing.tag] = replace(listing, rows=(*before.rows, *listing.rows)) if before else listing
        return cls(
            blobs=tuple({blob.digest: blob for one in every for blob in one.blobs}.values()),
            documents=tuple({document.digest: document for one in every for document in one.documents}.values()),
            tags=tuple(tag for one in every for tag in one.tags),
            listings=tuple(listings.values()),
        )


def referrer(
    title: str, about: Document, data: bytes, media_type: str, annotations: Mapping[str, str]
) -> tuple[Blob, Document, dict[str, Any]]:
    """*data* as an artifact that refers to the manifest *about*: its blob, its manifest, and its row in listings."""
    blob = Blob.of(title, data)
    made = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": media_type,
        "config": Descriptor(media_type=EMPTY_TYPE, digest=files.sha256_bytes(EMPTY), size=len(EMPTY)).json(),
        "layers": [Descriptor(media_type=media_type, digest=blob.digest, size=blob.size).json()],
        "subject": about.descriptor,
        "annotations": dict(annotations),
    }
    document = Document(title=f"manifest of the {title}", data=canonical.dump(made))
    return blob, document, {**document.descriptor, "artifactType": media_type, "annotations": dict(annotations)}


def empty() -> Blob:
    """The configuration of what has none (image specification 1.1, "Guidance for an Empty Descriptor")."""
    return Blob.of("empty configuration", EMPTY)


def rows_of(document: bytes | None, key: str, where: str) -> list[dict[str, Any]]:
    """The objects in the list *key* of a manifest that others may have written, if they name a digest."""
    try:
        found = json.loads(document or b"{}").get(key) or []
    except (ValueError, AttributeError) as error:
        raise VerificationError(f"the manifest cannot be read: {error}", where=where) from error
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("digest"), str)]


def _new(before: list[dict[str, Any]], rows: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """Those of *rows* that are not there: the same payload may be signed by several keys."""
    known = [(row["digest"], (row.get("annotations") or {}).get(images.ANNOTATION)) for row in before]
    return [
        dict(row) for row in rows if (row["digest"], row.get("annotations", {}).get(images.ANNOTATION)) not in known
    ]
