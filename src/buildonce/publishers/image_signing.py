"""Signs the images of a release where they are published, and finds who signed one that is.

The key signs here and not when the release is built, because a signature names the repository; the provenance is the
one that the releaser signed, now about the manifest that a registry knows the image by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce import provenance, statement
from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.oci.configuration import timestamp
from buildonce.publishers import images as release_images
from buildonce.publishers.cargo import Blob, Cargo, Referrers, Signatures, empty, referrer, rows_of
from buildonce.registry.client import Descriptor
from buildonce.signing import attestations, bundle, folder, images
from buildonce.system import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from buildonce.publishers.cargo import Document
    from buildonce.publishers.parcels import Outgoing
    from buildonce.registry import Registry, Repository
    from buildonce.signing import Key, PublicKey

__all__ = ["Found", "fallback", "find", "named", "predicates", "signed", "stated"]

_CREATED: Final = "org.opencontainers.image.created"
_CONTENT: Final = "dev.sigstore.bundle.content"
_PREDICATE: Final = "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What trusted keys say of a manifest: how signatures call it, and the statements about it, each with its type."""

    names: frozenset[str]
    statements: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def predicates(self) -> frozenset[str]:
        """The types of the statements."""
        return frozenset(kind for kind, _ in self.statements)


def predicates(release: Outgoing, trusted: Sequence[PublicKey]) -> dict[str, Mapping[str, Any]]:
    """What is said of every image of *release*, by type: that it is signed, how it was made, and what is in it."""
    made = statement.read(_provenance(release, trusted), where=provenance.FILE, predicate_type=statement.PROVENANCE)
    bill = canonical.load_canonical(folder.read(release.folder, attestations.SBOM), where=attestations.SBOM)
    return {
        images.SIGNED: {},
        statement.PROVENANCE: made.predicate.value,
        statement.CYCLONEDX: canonical.Fields.of(bill, attestations.SBOM).value,
    }


def _provenance(release: Outgoing, trusted: Sequence[PublicKey]) -> bytes:
    """The provenance as one of *trusted* signed it: who built is part of that copy only."""
    for signer in folder.names(release.folder, attestations.PLACE):
        where = f"{attestations.PLACE}/{signer}/{attestations.PROVENANCE}"
        envelope = bundle.parse(folder.read(release.folder, where, bundle.MOST_BYTES), where=where)
        if any(envelope.is_by(public) for public in trusted):
            return envelope.payload
    raise VerificationError("no trusted key signed the provenance", where=attestations.PLACE)


def signed(
    cargo: Cargo, repository: Repository, key: Key, said: Mapping[str, Mapping[str, Any]], *, epoch: int
) -> Cargo:
    """*cargo* with the signatures of *key* in both forms, and *said* (statements by type), on every manifest.

    The same key gives the same bytes: *epoch* is the commit's time.
    """
    return Cargo.joined((cargo, named(cargo, repository, key), stated(cargo.documents, key, said, epoch)))


def named(cargo: Cargo, repository: Repository, key: Key) -> Cargo:
    """The older form: for every manifest of *cargo* a signature for each name that somebody may ask for it by."""
    tags = release_images.reached(cargo)
    place = f"{repository.host}/{repository.name}"
    return Cargo.joined(_named(one, [f"{place}:{tag}" for tag in tags[one.digest]], key) for one in cargo.documents)


def _named(document: Document, references: Sequence[str], key: Key) -> Cargo:
    blobs, rows = [], []
    for reference in references:
        data = images.payload(reference, document.digest)
        blob = Blob.of(f"{document.title}: signature of {reference.rpartition(':')[2]}", data)
        row = Descriptor(media_type=images.PAYLOAD_TYPE, digest=blob.digest, size=blob.size).json()
        blobs.append(blob)
        rows.append({**row, "annotations": {images.ANNOTATION: images.sign(key, data)}})
    listing = Signatures(subject=document.digest, title=f"signatures on {document.title}", rows=tuple(rows))
    return Cargo(blobs=tuple(blobs), listings=(listing,))


def stated(documents: Iterable[Document], key: Key, said: Mapping[str, Mapping[str, Any]], epoch: int) -> Cargo:
    """The newer form: for each of *documents* a bundle for every statement of *said*, that refers to it."""
    return Cargo.joined((Cargo(blobs=(empty(),)), *(_stated(one, key, said, epoch) for one in documents)))


def _stated(document: Document, key: Key, said: Mapping[str, Mapping[str, Any]], epoch: int) -> Cargo:
    made = [
        referrer(
            f"{document.title}: {images.TITLES[kind]}",
            document,
            images.state(key, document.digest, kind, predicate),
            bundle.MEDIA_TYPE,
            {_CREATED: timestamp(epoch), _CONTENT: "dsse-envelope", _PREDICATE: kind},
        )
        for kind, predicate in said.items()
    ]
    rows = tuple(row for _, _, row in made)
    listing = Referrers(subject=document.digest, title=f"what refers to {document.title}", rows=rows)
    return Cargo(
        blobs=tuple(blob for blob, _, _ in made), documents=tuple(one for _, one, _ in made), listings=(listing,)
    )


def find(registry: Registry, digest: Digest, trusted: Sequence[PublicKey]) -> Found:
    """What *trusted* keys say of the manifest *digest* in *registry*. Who signed nothing is no error: see the values.

    Raises :class:`buildonce.errors.ReleaseError` when the registry fails.
    """
    bundles = (data for data in _bundles(registry, digest) if data)
    said = [images.stated(data, digest, trusted) for data in bundles]
    names = set()
    tag = images.signature_tag(digest)
    for row in rows_of(registry.manifest(tag), "layers", tag):
        data = registry.read_small(Digest(row["digest"].removeprefix("sha256:")))
        signature = (row.get("annotations") or {}).get(images.ANNOTATION)
        names.add(images.named(data, signature, digest, trusted) if data and isinstance(signature, str) else None)
    return Found(names=frozenset(one for one in names if one), statements=tuple(one for one in said if one))


def fallback(registry: Registry, digest: Digest) -> list[dict[str, Any]]:
    """What refers to the manifest *digest*, as the registry lists it, or as others did under the tag for that."""
    rows = registry.referrers(digest)
    if rows is not None:
        return [*rows]
    tag = Referrers(subject=digest, title="", rows=()).tag
    return rows_of(registry.manifest(tag), "manifests", tag)


def _bundles(registry: Registry, digest: Digest) -> Iterator[bytes | None]:
    for row in fallback(registry, digest):
        document = registry.manifest(str(row["digest"]))
        for layer in rows_of(document, "layers", str(row["digest"])):
            if layer.get("mediaType") == bundle.MEDIA_TYPE:
                yield registry.read_small(Digest(layer["digest"].removeprefix("sha256:")))
