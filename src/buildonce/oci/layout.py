"""One archive for every tool: an OCI image layout that also holds Docker's ``manifest.json``, over the same
blobs.

``docker load`` reads the one, ``podman load`` and ``skopeo copy oci-archive:`` the other. Formats: OCI image
specification 1.1 (*Image Layout*, *Image Manifest*), Docker image specification 1.2 (*Combined Image JSON*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buildonce.system import archive, canonical, files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.oci.layers import Layer

__all__ = [
    "CONFIG_TYPE",
    "INDEX_TYPE",
    "LAYER_TYPE",
    "LAYOUT",
    "MANIFEST_TYPE",
    "PLAIN_LAYER_TYPE",
    "TITLE",
    "VERSION",
    "Image",
    "blob_path",
    "manifest",
    "platform",
    "table",
    "write",
    "write_members",
]

CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
LAYOUT: Final = {"imageLayoutVersion": "1.0.0"}
TITLE: Final = "org.opencontainers.image.title"
VERSION: Final = "org.opencontainers.image.version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """Everything that goes into the archive."""

    reference: str  # "orders:1.2.4"
    config: Mapping[str, Any]  # the whole configuration
    layers: Sequence[Layer]
    annotations: Mapping[str, str]


def blob_path(sha256: str) -> str:
    """Where a blob is in the archive."""
    return f"blobs/sha256/{sha256}"


def manifest(image: Image) -> tuple[bytes, bytes]:
    """The exact bytes of the configuration and of the manifest that refers to it."""
    config = canonical.dump(image.config)
    found = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, files.sha256_bytes(config), len(config)),
        "layers": [_descriptor(layer.media_type, layer.sha256, layer.size) for layer in image.layers],
        "annotations": dict(image.annotations),
    }
    return config, canonical.dump(found)


def write(path: Path, image: Image) -> None:
    """Write the archive of *image* to *path*, through a file beside it."""
    config, found = manifest(image)
    names = table(MANIFEST_TYPE, found, image.reference, image.annotations, platform(image.config))
    members: dict[str, Path | bytes] = {
        "oci-layout": canonical.dump(LAYOUT),
        "index.json": canonical.dump(names),
        "manifest.json": canonical.dump(_docker_manifest(image, config)),
        blob_path(files.sha256_bytes(config)): config,
        blob_path(files.sha256_bytes(found)): found,
        **{blob_path(layer.sha256): layer.blob for layer in image.layers},
    }
    write_members(path, members)


def write_members(path: Path, members: Mapping[str, Path | archive.Part | bytes]) -> None:
    """Write *members* and the folders that an image layout has to *path*, through a file beside it."""
    folders = [archive.Member(path=name, mode=0o755) for name in ("blobs/", "blobs/sha256/")]
    with files.scratch(path.parent, path.name) as aside:
        unfinished = aside / path.name
        with unfinished.open("wb") as out:
            archive.write_tar(out, [*folders, *(archive.Member(path=n, source=s) for n, s in members.items())])
        unfinished.chmod(0o644)
        unfinished.replace(path)


def _descriptor(media_type: str, sha256: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}


def platform(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an image of the configuration *config* runs on, as descriptors say it."""
    return {key: config[key] for key in ("architecture", "os", "variant") if key in config}


def table(
    media_type: str,
    found: bytes,
    reference: str,
    annotations: Mapping[str, str],
    platform: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``index.json``, which names one thing: *found*, a manifest or an index."""
    # podman takes the first annotation for the image's name, containerd the second.
    names = {
        "org.opencontainers.image.ref.name": reference,
        "io.containerd.image.name": reference,
    }
    descriptor = _descriptor(media_type, files.sha256_bytes(found), len(found))
    if platform:
        descriptor["platform"] = dict(platform)
    return {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [{**descriptor, "annotations": names}],
        "annotations": dict(annotations),
    }


def _docker_manifest(image: Image, config: bytes) -> list[dict[str, Any]]:
    return [
        {
            "Config": blob_path(files.sha256_bytes(config)),
            "RepoTags": [image.reference],
            "Layers": [blob_path(layer.sha256) for layer in image.layers],
        }
    ]
