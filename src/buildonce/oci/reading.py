"""Opens an image archive and believes nothing: every blob's digest and size, every reference, both of its
tables of contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from buildonce.model import Entry
from buildonce.oci import layout
from buildonce.oci.blobs import Blobs, place_of
from buildonce.oci.configuration import CONFIG_ENTRY, OURS
from buildonce.oci.filesystem import FileSystem
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.system.store import Store

__all__ = ["BASE_DIGEST", "ReadImage", "config_entry", "image", "image_id", "read", "reference", "top"]

BASE_DIGEST: Final = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadImage:
    """What an archive holds: its names, and every file of the container with its configuration as one more
    entry.
    """

    name: str
    version: str  # PEP 440, from the label
    reference: str
    config: Mapping[str, Any]
    entries: tuple[Entry, ...]  # sorted by path


def config_entry(config: Mapping[str, Any]) -> Entry:
    """The container's configuration (user, command, environment, …), listed like a file so that it is
    compared like one.
    """
    data = canonical.dump(config)
    return Entry(path=CONFIG_ENTRY, size=len(data), sha256=files.sha256_bytes(data))


def read(path: Path, store: Store | None = None) -> ReadImage:
    """Verify the archive at *path* from its bytes alone and list what it holds.

    With *store*, a layer that was unpacked before is only hashed: its digest names the listing that is kept.

    Raises :class:`VerificationError` that names the blob or the file.
    """
    blobs = Blobs(path, store)
    described, manifest = top(blobs, layout.MANIFEST_TYPE)
    found = image(blobs, manifest, _references(blobs, described, manifest))
    blobs.nothing_else()
    return found


def image_id(path: Path) -> str:
    """The ID that engines give the image in the archive at *path*: ``sha256:`` and the digest of its configuration."""
    _, manifest = top(Blobs(path), layout.MANIFEST_TYPE)
    return manifest.fields("config").text("digest")


def top(blobs: Blobs, media_type: str) -> tuple[canonical.Fields, canonical.Fields]:
    """The one descriptor in ``index.json``, and what it leads to, of *media_type*."""
    if blobs.json("oci-layout").value != layout.LAYOUT:
        raise blobs.wrong("oci-layout", "is not of version 1.0.0")
    index = blobs.json("index.json")
    (described,) = _exactly_one(blobs, "index.json", index.objects("manifests"))
    return described, blobs.described(described, media_type)


def image(blobs: Blobs, manifest: canonical.Fields, references: str) -> ReadImage:
    """The image of *manifest*, whose reference is *references*; every blob that it needs is checked."""
    config = blobs.described(manifest.fields("config"), layout.CONFIG_TYPE)
    labels = _same_labels(blobs, manifest, config)
    entries = _lay(blobs, manifest, config)
    name, _, _ = references.partition(":")
    if labels.get(layout.TITLE) != name:
        raise blobs.wrong("index.json", f"names {name}, but the label {layout.TITLE} says {labels.get(layout.TITLE)}")
    container = cast("dict[str, Any]", config.fields("config").value)
    return ReadImage(
        name=name,
        version=labels.get(layout.VERSION, ""),
        reference=references,
        config=config.value,
        entries=tuple(sorted((*entries.values(), config_entry(container)))),
    )


def _exactly_one(blobs: Blobs, name: str, found: tuple[canonical.Fields, ...]) -> tuple[canonical.Fields]:
    if len(found) != 1:
        raise blobs.wrong(name, f"lists {len(found)} images instead of one")
    return (found[0],)


def _references(blobs: Blobs, described: canonical.Fields, manifest: canonical.Fields) -> str:
    """The image's reference, on which the index and Docker's table have to agree, and on every blob too."""
    found = reference(blobs, described)
    expected = [
        {
            "Config": place_of(manifest.fields("config")),
            "RepoTags": [found],
            "Layers": [place_of(layer) for layer in manifest.objects("layers")],
        }
    ]
    if blobs.value("manifest.json") != expected:
        raise blobs.wrong("manifest.json", "and index.json do not describe the same image")
    return found


def reference(blobs: Blobs, described: canonical.Fields) -> str:
    """How *described*, an entry of ``index.json``, is called: ``orders:1.2.4``."""
    names = described.fields("annotations")
    found = names.text("org.opencontainers.image.ref.name")
    if names.text("io.containerd.image.name") != found:
        raise blobs.wrong("index.json", "gives the image two names")
    return found


def _same_labels(blobs: Blobs, manifest: canonical.Fields, config: canonical.Fields) -> dict[str, str]:
    annotations = dict(manifest.fields("annotations").value)
    if dict(config.fields("config").fields("Labels").value) != annotations:
        raise blobs.wrong(place_of(manifest.fields("config")), "has other labels than the manifest has annotations")
    return {name: str(value) for name, value in annotations.items()}


def _lay(blobs: Blobs, manifest: canonical.Fields, config: canonical.Fields) -> dict[str, Entry]:
    layers = manifest.objects("layers")
    place = place_of(manifest.fields("config"))
    diff_ids = config.fields("rootfs").texts("diff_ids")
    if len(diff_ids) != len(layers):
        raise blobs.wrong(place, f"has {len(diff_ids)} diff_ids for {len(layers)} layers")
    foreign = _foreign(blobs, manifest, config, len(layers))
    system = FileSystem()
    for layer, content, diff_id, others in zip(layers, blobs.layers(layers, foreign), diff_ids, foreign, strict=True):
        if f"sha256:{content.diff_id}" != diff_id:
            raise blobs.wrong(place_of(layer), f"unpacks to sha256:{content.diff_id}, the configuration says {diff_id}")
        system.lay(content, where=blobs.at(place_of(layer)), foreign=others)
    return system.entries


def _foreign(blobs: Blobs, manifest: canonical.Fields, config: canonical.Fields, count: int) -> list[bool]:
    """Which layers come from a base image that others made, as the history tells; none may without a named
    base.
    """
    history = [line for line in config.objects("history") if not line.value.get("empty_layer")]
    if len(history) != count:
        raise blobs.wrong(
            place_of(manifest.fields("config")), f"has {len(history)} lines of history for {count} layers"
        )
    found = [not str(line.value.get("created_by", "")).startswith(OURS) for line in history]
    if any(found) and BASE_DIGEST not in manifest.fields("annotations").value:
        raise blobs.wrong(place_of(manifest.fields("config")), "has layers of a base image that is not named")
    return found
