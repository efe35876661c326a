"""Moves a version from one repository of a registry to another, by digest: the same manifests, with all that is signed.

In the same registry no layer is sent: the registry is asked to have it in both places.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from buildonce.errors import ReleaseError, VerificationError
from buildonce.model import Digest
from buildonce.publishers import image_signing, images
from buildonce.publishers.cargo import Blob, Cargo, Document, Referrers, Signatures, Tag, rows_of
from buildonce.publishers.registry import explained, locked, pulls, require_signed
from buildonce.publishers.shipping import Shipping
from buildonce.registry import Registry
from buildonce.registry.client import INDEX_TYPE, MANIFEST_TYPE
from buildonce.signing.images import signature_tag
from buildonce.statement import PROMOTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from buildonce.protocols import Progress
    from buildonce.publishers.parcels import Means, Parcel
    from buildonce.registry import Repository
    from buildonce.signing import Key, PublicKey

__all__ = ["Promotion", "promote"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What a repository has of a version now, and the lines that pull it."""

    parcels: tuple[Parcel, ...]
    use: tuple[str, ...]


def promote(
    version: str,
    source: Repository,
    target: Repository,
    means: Means,
    *,
    key: Key | None,
    record: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Promotion:
    """Bring the images of *version* (as tags spell it) from *source* to *target*.

    Before, they have to be signed by trusted keys, as this very version. With *key* they are signed once more,
    under the name that they have in *target*: podman and skopeo ask for that one; and *record*, which says who
    promoted them when, refers to each of them that has none. Doing it again changes nothing.

    Raises :class:`VerificationError` when a signature is missing or the version is there with other bytes, and
    :class:`ReleaseError` when there is no such version or a registry says no.
    """
    trusted, progress = means.trusted, means.system.progress
    here, there = Registry(source, means.system.net), Registry(target, means.system.net)
    with explained(source):
        progress.step(f"verify {version} in {source}")
        cargo = _images(here, version)
        require_signed(here, cargo, trusted)
        whole = Cargo.joined((cargo, *(_attached(here, document) for document in cargo.documents)))
    if key:
        whole = Cargo.joined((whole, image_signing.named(cargo, target, key), _recorded(there, cargo, key, record)))
    shipping = Shipping(there, whole, (source,))
    with explained(target):
        there.require_push()
        if dry_run:
            return Promotion(parcels=shipping.parcels(), use=())
        with locked(target, means.system.store):
            parcels = _shipped(shipping, there, cargo, (*trusted, *([key.public] if key else ())), progress)
    return Promotion(parcels=parcels, use=pulls(target, cargo))


def _shipped(
    shipping: Shipping, there: Registry, cargo: Cargo, trusted: Sequence[PublicKey], progress: Progress
) -> tuple[Parcel, ...]:
    parcels = shipping.parcels()
    missing = [one for one in parcels if not one.there]
    total, done = sum(one.size for one in missing), 0
    progress.step(f"promote to {there.repository}: {len(missing)} of {len(parcels)}")
    for one in missing:
        shipping.send(one, lambda _: None)
        done += one.size
        progress.advance(str(there.repository), done, total)
    shipping.reveal()
    progress.step(f"read back from {there.repository}")
    shipping.read_back()
    require_signed(there, cargo, trusted)
    return parcels


def _recorded(there: Registry, cargo: Cargo, key: Key, record: Mapping[str, Any] | None) -> Cargo:
    """What says that the images of *cargo* came *there*, for those of which *key* did not say it."""
    if record is None:
        return Cargo()
    new = [one for one in cargo.documents if not _has_record(there, one, key, record["to"])]
    on = datetime.fromisoformat(record["on"])
    return image_signing.stated(new, key, {PROMOTION: record}, int(on.timestamp())) if new else Cargo()


def _has_record(there: Registry, document: Document, key: Key, place: str) -> bool:
    said = image_signing.find(there, document.digest, [key.public]).statements
    return any(kind == PROMOTION and record.get("to") == place for kind, record in said)


def _images(registry: Registry, version: str) -> Cargo:
    """The images of *version*: its tag, and those with a platform or a distribution behind it."""
    names = sorted(tag for tag in registry.tags() if tag.startswith(f"{version}-"))
    documents: dict[Digest, Document] = {}
    tags = []
    for name in (*names, version):
        data = registry.manifest(name)
        if data is not None:
            top = _document(data, name)
            for child in images.children(top):
                found = _required(registry, child, name)
                documents[child] = found
            documents[top.digest] = top
            tags.append(Tag(name=name, document=top))
    if not tags:
        raise ReleaseError(
            f"there is no {version}",
            where=str(registry.repository),
            hint="name the version as its tag is spelled, and publish it there first",
        )
    ordered = sorted(documents.values(), key=lambda one: one.media_type == INDEX_TYPE)
    blobs = _blobs(registry, ordered)
    return Cargo(blobs=tuple(blobs), documents=tuple(ordered), tags=tuple(tags))


def _required(registry: Registry, digest: Digest, title: str) -> Document:
    data = registry.manifest(f"sha256:{digest}")
    if data is None:
        raise VerificationError(f"the manifest sha256:{digest} of {title} is gone", where=str(registry.repository))
    return _document(data, f"{title} sha256:{digest[:12]}")


def _document(data: bytes, title: str) -> Document:
    """A manifest as it came. Older ones do not say their type; an index is then told by what it lists."""
    said = _object(data, title)
    media_type = said.get("mediaType") or (INDEX_TYPE if "manifests" in said else MANIFEST_TYPE)
    return Document(title=f"manifest {title}", data=data, media_type=str(media_type))


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise VerificationError(f"the manifest cannot be read: {error}", where=where) from error
    if not isinstance(found, dict):
        raise VerificationError("the manifest is no JSON object", where=where)
    return found


def _blobs(registry: Registry, documents: Iterable[Document]) -> list[Blob]:
    """The blobs that *documents* name; each once."""
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        config = _object(document.data, document.title).get("config")
        if isinstance(config, dict) and isinstance(config.get("digest"), str):
            found[config["digest"]] = config
        found |= {row["digest"]: row for row in rows_of(document.data, "layers", document.title)}
    return [_blob(registry, row) for row in found.values()]


def _blob(registry: Registry, row: dict[str, Any]) -> Blob:
    digest, size = Digest(str(row["digest"]).removeprefix("sha256:")), row.get("size")
    return Blob(title=f"blob {digest}", digest=digest, size=size if isinstance(size, int) else 0, source=registry)


def _attached(registry: Registry, about: Document) -> Cargo:
    """What refers to the manifest *about*, by whomever it is, and its signatures in the older form."""
    rows = image_signing.fallback(registry, about.digest)
    documents = [
        _required(registry, Digest(str(row["digest"]).removeprefix("sha256:")), f"what refers to {about.title}")
        for row in rows
    ]
    tag = signature_tag(about.digest)
    signatures = rows_of(registry.manifest(tag), "layers", tag)
    blobs = [_blob(registry, row) for row in signatures]
    return Cargo(
        blobs=(*blobs, *_blobs(registry, documents)),
        documents=tuple(documents),
        listings=(
            Signatures(subject=about.digest, title=f"signatures on {about.title}", rows=tuple(signatures)),
            Referrers(subject=about.digest, title=f"what refers to {about.title}", rows=tuple(rows)),
        ),
    )
