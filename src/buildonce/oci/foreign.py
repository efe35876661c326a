"""A base image that others made, pinned by digest and lying here as an OCI archive. Its layers are carried on
byte for byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import ConfigurationError, VerificationError
from buildonce.model import Digest, Entry
from buildonce.oci import layout
from buildonce.oci.blobs import LAYER_TYPES, Blobs
from buildonce.oci.configuration import architecture
from buildonce.oci.filesystem import FileSystem
from buildonce.oci.layers import Layer, from_rows, rows
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from buildonce.model import Target
    from buildonce.system.store import Store

__all__ = ["Base", "read"]

_INDEX_TYPES: Final = (layout.INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFEST_TYPES: Final = (layout.MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
_CONFIG_TYPES: Final = (layout.CONFIG_TYPE, "application/vnd.docker.container.image.v1+json")
_WHERE: Final = "[tool.release.image] base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base image: its layers, and what a container of it would see."""

    name: str
    digest: Digest  # of its manifest, or of the index that was pinned
    layers: tuple[Layer, ...]
    entries: tuple[Entry, ...]
    environment: dict[str, str]


def read(setting: str, root: Path, target: Target, store: Store) -> Base | None:
    """The base image that *setting* names: ``path.tar`` or ``path.tar@sha256:…``, relative to *root*; None
    when there is none.

    Raises :class:`ConfigurationError` when it is not on this machine or does not fit *target*, and
    :class:`VerificationError` when its bytes are not those of the digest.
    """
    if not setting:
        return None
    place, _, expected = setting.partition("@sha256:")
    path = root / place
    if not path.is_file():
        path = store.root / "bases" / f"{expected}.tar"  # from a vault
    if not path.is_file():
        raise ConfigurationError(
            f"the base image {setting} is not on this machine",
            where=_WHERE,
            hint=f'skopeo copy docker://{setting} oci-archive:base.tar, then write base = "base.tar@sha256:{expected}"',
        )
    key = files.sha256_bytes(canonical.dump(["foreign 1", files.sha256_file(path), expected, target.architecture]))
    folder = store.folder("oci-base", key, lambda into: _unpack(path, Digest(expected), target, into))
    base = _load(folder / "base.json", name=Path(place).name)
    if not any(entry.path == str(target.interpreter).lstrip("/") for entry in base.entries):
        raise ConfigurationError(
            f"the base image has no {target.interpreter}, which runs applications on {target.name}",
            where=_WHERE,
            hint="take a base image of the same distribution, or none: one is made from locked packages",
        )
    return base


def _unpack(path: Path, expected: Digest, target: Target, into: Path) -> None:
    """Keep the layers of the archive in *into*, each checked, with the facts about them."""
    blobs = Blobs(path)
    digest, manifest = _manifest(blobs, expected, target)
    config = blobs.described(manifest.fields("config"), *_CONFIG_TYPES)
    descriptors = manifest.objects("layers")
    contents = blobs.layers(descriptors, [True] * len(descriptors))
    diff_ids = config.fields("rootfs").texts("diff_ids")
    if list(diff_ids) != [f"sha256:{content.diff_id}" for content in contents]:
        raise VerificationError("its layers are not those of its configuration", where=str(path))
    system, layers = FileSystem(), []
    for number, (descriptor, content, title) in enumerate(
        zip(descriptors, contents, _history(config, len(contents)), strict=True)
    ):
        system.lay(content, where=str(path), foreign=True)
        blobs.copy(descriptor, into / f"{number:03d}")
        packed = LAYER_TYPES[descriptor.text("mediaType")]
        layers.append([title, packed, content.sha256, content.size, content.diff_id])
    entries = rows(sorted(system.entries.values()))
    container = config.fields("config")
    lines = container.texts("Env") if "Env" in container.value else ()
    environment = dict(line.split("=", 1) for line in lines)
    facts = {"digest": digest, "layers": layers, "entries": entries, "environment": environment}
    (into / "base.json").write_bytes(canonical.dump(facts))


def _load(path: Path, *, name: str) -> Base:
    facts: dict[str, Any] = json.loads(path.read_bytes())
    return Base(
        name=name,
        digest=Digest(facts["digest"]),
        layers=tuple(
            Layer(
                title=title,
                blob=path.with_name(f"{number:03d}"),
                sha256=Digest(sha256),
                size=size,
                diff_id=Digest(diff_id),
                entries=(),
                media_type=layout.LAYER_TYPE if packed else layout.PLAIN_LAYER_TYPE,
            )
            for number, (title, packed, sha256, size, diff_id) in enumerate(facts["layers"])
        ),
        entries=from_rows(facts["entries"]),
        environment=facts["environment"],
    )


def _manifest(blobs: Blobs, expected: Digest, target: Target) -> tuple[Digest, canonical.Fields]:
    """The manifest for *target*, and the digest that pins it: *expected*, or that of the only image in the
    archive.
    """
    listed = blobs.json("index.json").objects("manifests")
    wanted = [one for one in listed if expected in ("", one.text("digest").removeprefix("sha256:"))]
    if len(wanted) != 1:
        what = f"does not hold sha256:{expected}" if expected else f"holds {len(listed)} images: pin one by its digest"
        raise VerificationError(f"the base image {what}", where=_WHERE)
    (descriptor,) = wanted
    digest = Digest(descriptor.text("digest").removeprefix("sha256:"))
    if descriptor.text("mediaType") in _INDEX_TYPES:
        children = blobs.described(descriptor, *_INDEX_TYPES).objects("manifests")
        fitting = [child for child in children if _fits(child, target)]
        if len(fitting) != 1:
            raise ConfigurationError(
                f"the base image has {len(fitting)} variants for linux/{target.architecture}", where=_WHERE
            )
        (descriptor,) = fitting
    return digest, blobs.described(descriptor, *_MANIFEST_TYPES)


def _fits(descriptor: canonical.Fields, target: Target) -> bool:
    platform = descriptor.fields("platform") if "platform" in descriptor.value else None
    wanted, _ = architecture(target.architecture)
    return platform is not None and (platform.text("os"), platform.text("architecture")) == ("linux", wanted)


def _history(config: canonical.Fields, count: int) -> list[str]:
    """One line for each layer; images without a history are allowed to exist."""
    lines = config.objects("history") if "history" in config.value else ()
    found = [str(line.value.get("created_by", "")) for line in lines if not line.value.get("empty_layer")]
    return found if len(found) == count else ["base image"] * count
