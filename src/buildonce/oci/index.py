"""Several images as one: an archive with an image index over the images of a distribution's architectures.

The manifests, configurations and layers are the bytes of the single archives, so that an image has one digest
however it arrived; what several share is there once. ``index.json`` refers to the index alone, which is what
``skopeo copy --all`` and ``podman manifest`` push; Docker's ``manifest.json`` names the same images, each with its
architecture in the tag. Format: OCI image specification 1.1, *Image Index*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import VerificationError
from buildonce.model import Digest, Entry
from buildonce.oci import layout, reading
from buildonce.oci.blobs import Blobs, place_of
from buildonce.system import archive, canonical, files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.oci.reading import ReadImage
    from buildonce.system.store import Store

__all__ = ["MANIFEST_ENTRY", "TARGET", "Indexed", "read", "write"]

TARGET: Final = "buildonce.target"  # the annotation of an image in the index that says which target it is for
MANIFEST_ENTRY: Final = "image:manifest"  # the path under which an image's manifest is listed among its files


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexed:
    """An image in an index: its target, its manifest, and what it holds."""

    target: str
    digest: Digest  # of the manifest
    size: int
    image: ReadImage

    @property
    def manifest(self) -> Entry:
        """The manifest, listed like a file so that it is compared like one."""
        return Entry(path=f"{self.target}/{MANIFEST_ENTRY}", size=self.size, sha256=self.digest)


def write(path: Path, archives: Mapping[str, Path]) -> tuple[Entry, ...]:
    """Write the index over the image archives of targets (name: archive) to *path*; answers their manifests.

    Raises :class:`VerificationError` when an archive is not sound, or they do not belong together.
    """
    members: dict[str, archive.Part | bytes] = {}
    found = [_taken(target, archives[target], members) for target in archives]
    found.sort(key=lambda one: _platform_name(one.platform))
    references = {one.reference for one in found}
    if len(references) > 1:
        raise VerificationError(f"images of different names cannot be one: {', '.join(sorted(references))}")
    (reference,) = references
    common = dict(set.intersection(*({*one.annotations.items()} for one in found)))
    listing = {
        "schemaVersion": 2,
        "mediaType": layout.INDEX_TYPE,
        "manifests": [one.descriptor for one in found],
        "annotations": common,
    }
    index = canonical.dump(listing)
    members[layout.blob_path(files.sha256_bytes(index))] = index
    members["oci-layout"] = canonical.dump(layout.LAYOUT)
    members["index.json"] = canonical.dump(layout.table(layout.INDEX_TYPE, index, reference, common))
    members["manifest.json"] = canonical.dump([one.docker for one in found])
    layout.write_members(path, members)
    return tuple(sorted(one.manifest for one in found))


def read(path: Path, store: Store | None = None) -> tuple[Indexed, ...]:
    """Verify the index archive at *path* from its bytes alone; answers its images, sorted by target.

    With *store*, a layer that was unpacked before is only hashed.

    Raises :class:`VerificationError` that names the blob or the file.
    """
    blobs = Blobs(path, store)
    described, index = reading.top(blobs, layout.INDEX_TYPE)
    reference = reading.reference(blobs, described)
    children = index.objects("manifests")
    found = [_read(blobs, child, reference) for child in children]
    docker = [_docker(blobs, child, reference) for child in children]
    if blobs.value("manifest.json") != docker:
        raise blobs.wrong("manifest.json", "and the index do not describe the same images")
    blobs.nothing_else()
    platforms = [_platform_name(child.fields("platform").value) for child in children]
    if len(found) < 2 or platforms != sorted(set(platforms)) or len({one.target for one in found}) != len(found):
        raise blobs.wrong("index.json", "does not list several images, each platform and each target once, sorted")
    if len({(one.image.name, one.image.version) for one in found}) != 1:
        raise blobs.wrong("index.json", "lists images of different names or versions")
    return tuple(sorted(found, key=lambda one: one.target))


def _read(blobs: Blobs, child: canonical.Fields, reference: str) -> Indexed:
    manifest = blobs.described(child, layout.MANIFEST_TYPE)
    image = reading.image(blobs, manifest, reference)
    said = dict(child.fields("platform").value)
    if said != layout.platform(image.config):
        raise blobs.wrong(place_of(child), f"is for {_platform_name(layout.platform(image.config))}, not as listed")
    return Indexed(
        target=child.fields("annotations").text(TARGET),
        digest=Digest(child.text("digest").removeprefix("sha256:")),
        size=child.count("size"),
        image=image,
    )


def _docker(blobs: Blobs, child: canonical.Fields, reference: str) -> dict[str, Any]:
    manifest = blobs.described(child, layout.MANIFEST_TYPE)
    return _docker_row(manifest, dict(child.fields("platform").value), reference)


def _docker_row(manifest: canonical.Fields, platform: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """An image for ``docker load``, which has no indexes: tags are told apart by the architecture."""
    return {
        "Config": place_of(manifest.fields("config")),
        "RepoTags": [f"{reference}-{'-'.join(_platform_name(platform).split('/')[1:])}"],
        "Layers": [place_of(layer) for layer in manifest.objects("layers")],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """An image taken from its own archive."""

    reference: str
    platform: Mapping[str, Any]
    annotations: Mapping[str, str]
    descriptor: Mapping[str, Any]
    docker: Mapping[str, Any]
    manifest: Entry


def _taken(target: str, path: Path, members: dict[str, archive.Part | bytes]) -> _Taken:
    """The image in the archive at *path*; its blobs are added to *members*."""
    blobs = Blobs(path)
    described, manifest = reading.top(blobs, layout.MANIFEST_TYPE)
    reference, platform = reading.reference(blobs, described), dict(described.fields("platform").value)
    digest, size = described.text("digest"), described.count("size")
    for one in (described, manifest.fields("config"), *manifest.objects("layers")):
        members[place_of(one)] = blobs.part(one)
    facts = {"mediaType": layout.MANIFEST_TYPE, "digest": digest, "size": size, "platform": platform}
    return _Taken(
        reference=reference,
        platform=platform,
        annotations={name: str(value) for name, value in manifest.fields("annotations").value.items()},
        descriptor={**facts, "annotations": {TARGET: target}},
        docker=_docker_row(manifest, platform, reference),
        manifest=Entry(path=f"{target}/{MANIFEST_ENTRY}", size=size, sha256=Digest(digest.removeprefix("sha256:"))),
    )


def _platform_name(platform: Mapping[str, Any]) -> str:
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)
