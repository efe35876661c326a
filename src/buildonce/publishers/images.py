"""The images of a release, out of their archives: manifests as they are, blobs where they lie, and their tags.

One image, or one index, has the tag of the version, ``1.4.1``; every image has one of its platform behind it too,
``1.4.1-linux-amd64``, which also keeps it from registries' garbage collection (distribution 2 deletes what has no tag,
though an index names it). Of several distributions each has its own name in its tags, ``1.4.1-debian-12``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.errors import ReleaseError
from buildonce.model import Digest
from buildonce.oci import layout
from buildonce.oci.blobs import Blobs
from buildonce.oci.configuration import OURS
from buildonce.oci.index import TARGET
from buildonce.publishers.cargo import Blob, Cargo, Document, Tag, rows_of

if TYPE_CHECKING:
    from buildonce.manifest import Manifest
    from buildonce.model import Artifact
    from buildonce.publishers.parcels import Outgoing
    from buildonce.system.canonical import Fields

__all__ = ["of", "reached"]


def of(release: Outgoing) -> Cargo:
    """All images of *release*, without signatures.

    Raises :class:`ReleaseError` when it has none, :class:`VerificationError` when an archive is not what it was.
    """
    tops = _tops(release.manifest)
    if not tops:
        raise ReleaseError(
            "the release has no image",
            where=str(release.folder),
            hint='add "oci" to formats in [tool.release] and build again',
        )
    version = release.manifest.version.oci
    found = [
        _opened(Blobs(release.folder / artifact.file), label, version if len(tops) == 1 else f"{version}-{label}")
        for label, artifact in tops.items()
    ]
    return Cargo.joined(found)


def reached(cargo: Cargo) -> dict[Digest, tuple[str, ...]]:
    """The tags by which somebody comes to each manifest: its own, and those of an index that names it."""
    own: dict[Digest, list[str]] = {document.digest: [] for document in cargo.documents}
    for tag in cargo.tags:
        own[tag.document.digest].append(tag.name)
    for tag in cargo.tags:
        for child in children(tag.document):
            own[child].append(tag.name)
    return {digest: tuple(sorted(names)) for digest, names in own.items()}


def children(document: Document) -> tuple[Digest, ...]:
    """The images that an index names."""
    if document.media_type != layout.INDEX_TYPE:
        return ()
    return tuple(
        Digest(row["digest"].removeprefix("sha256:")) for row in rows_of(document.data, "manifests", document.title)
    )


def _tops(manifest: Manifest) -> dict[str, Artifact]:
    """What has a tag of its own, by its name in it: every index, and every image that is in none."""
    indexes = {_distribution(one, manifest): one for one in manifest.artifacts if one.kind == "oci-index"}
    joined = {target for one in indexes.values() for target in _targets(one)}
    singles = {one.target: one for one in manifest.artifacts if one.kind == "oci" and one.target not in joined}
    return {**indexes, **singles}


def _targets(index: Artifact) -> set[str]:
    return {entry.path.partition("/")[0] for entry in index.extras}


def _distribution(index: Artifact, manifest: Manifest) -> str:
    target = manifest.built(min(_targets(index))).target
    return f"{target.distribution}-{target.release}"


def _opened(blobs: Blobs, label: str, tag: str) -> Cargo:
    described = blobs.json("index.json").objects("manifests")[0]
    if described.text("mediaType") == layout.MANIFEST_TYPE:
        return _image(blobs, described, label, (tag,), at_end=tag)
    document, index = _document(blobs, described, label)
    images = [
        _image(blobs, child, str(child.fields("annotations").value.get(TARGET, label)), (), at_end=tag)
        for child in index.objects("manifests")
    ]
    return Cargo.joined((*images, Cargo(documents=(document,), tags=(Tag(name=tag, document=document),))))


def _image(blobs: Blobs, described: Fields, label: str, tags: tuple[str, ...], *, at_end: str) -> Cargo:
    """One image with its blobs; its tags are *at_end* with its platform behind it, and *tags*."""
    document, manifest = _document(blobs, described, label)
    config = blobs.described(manifest.fields("config"), layout.CONFIG_TYPE)
    platform = layout.platform(config.value)
    name = "-".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)
    layers = manifest.objects("layers")
    return Cargo(
        blobs=(
            *(_blob(blobs, row, f"{label} layer {title}") for row, title in zip(layers, _titles(config), strict=True)),
            _blob(blobs, manifest.fields("config"), f"{label} configuration"),
        ),
        documents=(document,),
        tags=tuple(Tag(name=one, document=document) for one in (f"{at_end}-{name}", *tags)),
    )


def _titles(config: Fields) -> list[str]:
    """What the history calls each layer, numbered; of a base image that others made, the number alone."""
    lines = [line for line in config.objects("history") if not line.value.get("empty_layer")]
    made_by = [str(line.value.get("created_by", "")) for line in lines]
    return [
        f"{number} of {len(lines)}" + (f" ({what.removeprefix(OURS)})" if what.startswith(OURS) else "")
        for number, what in enumerate(made_by, 1)
    ]


def _document(blobs: Blobs, described: Fields, label: str) -> tuple[Document, Fields]:
    kind = described.one_of("mediaType", layout.MANIFEST_TYPE, layout.INDEX_TYPE)
    fields = blobs.described(described, kind)
    with blobs.part(described).open() as stream:
        data = stream.read()
    what = "index" if kind == layout.INDEX_TYPE else "manifest"
    return Document(title=f"{label} {what}", data=data, media_type=kind), fields


def _blob(blobs: Blobs, described: Fields, title: str) -> Blob:
    part = blobs.part(described)
    return Blob(
        title=title, digest=Digest(described.text("digest").removeprefix("sha256:")), size=part.size, source=part
    )
