"""Gives the blobs of an image archive names that both sides share: their paths are digests, which differ.

Format: OCI image specification 1.1 (*Image Layout*, *Image Manifest*, *Image Index*).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.difference.archives import Archive, Member

__all__ = ["CONFIG", "MANIFEST", "named"]

CONFIG: Final = "configuration"
MANIFEST: Final = "image manifest"
_MARK: Final = "oci-layout"
_LARGEST: Final = 8 << 20
_DEEPEST: Final = 3


def named(archive: Archive) -> Archive:
    """*archive* with the blobs that its index leads to called by what they are, in the order of the image.

    As it is when it holds no image; blobs that nothing leads to keep their names.
    """
    members = {member.name: member for member in archive.members}
    if _MARK not in members:
        return archive
    names: dict[str, str] = {}
    for path, name in _described(members, "index.json", "", _DEEPEST, set()):
        names.setdefault(path, name)
    found = [replace(members[path], name=name, ordered=False) for path, name in names.items()]
    others = [replace(m, ordered=not m.name.startswith("blobs/")) for m in archive.members if m.name not in names]
    return replace(archive, members=(*others, *found))


def _described(
    members: Mapping[str, Member], path: str, prefix: str, depth: int, seen: set[str]
) -> Iterator[tuple[str, str]]:
    document = _json(members.get(path))
    manifests = [one for one in _list(document.get("manifests")) if isinstance(one, dict)]
    for one in manifests:
        inner, here = _path(one), prefix + (f"{_platform(one)}: " if len(manifests) > 1 else "")
        if inner not in members or inner in seen or not depth:
            continue
        seen.add(inner)
        nested = "manifests" in _json(members[inner])
        yield inner, f"{here}{'image index' if nested else MANIFEST}"
        yield from _described(members, inner, here, depth - 1, seen)
    if (config := _path(document.get("config"))) in members:
        yield config, f"{prefix}{CONFIG}"
    for number, layer in enumerate(_list(document.get("layers")), start=1):
        if (inner := _path(layer)) in members:
            yield inner, f"{prefix}layer {number}"


def _json(member: Member | None) -> dict[str, Any]:
    if member is None or member.packed.size > _LARGEST:
        return {}
    try:
        found = json.loads(member.packed.read())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _path(descriptor: object) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return "blobs/" + digest.replace(":", "/", 1) if isinstance(digest, str) else ""


def _platform(descriptor: dict[str, Any]) -> str:
    platform = descriptor.get("platform")
    found = platform if isinstance(platform, dict) else {}
    return "/".join(str(found[key]) for key in ("os", "architecture", "variant") if key in found) or "an image"
