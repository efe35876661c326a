"""What of a release goes to an index: its wheel and sdist, the locked dependencies, and the signed documents."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from packaging.utils import canonicalize_name

from buildonce.errors import ConfigurationError
from buildonce.system import files, zipped
from buildonce.system.archive import Member, Part

if TYPE_CHECKING:
    from buildonce.manifest import Manifest
    from buildonce.model import Digest
    from buildonce.publishers.parcels import Outgoing

__all__ = ["DOCUMENTS", "Item", "dependencies", "documents", "own", "source"]

DOCUMENTS: Final = ".doc.zip"  # how devpi names the documentation of a version
_LOGS: Final = "log"
_WHEELS: Final = PurePosixPath("wheels")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A file that the index has to have."""

    filename: str
    project: str  # normalised (PEP 503)
    version: str  # as the file name has it
    sha256: Digest
    size: int
    kind: Literal["wheel", "sdist", "documents"]
    archive: str = ""  # the wheelhouse of the release that holds it


def own(said: Manifest) -> tuple[Item, ...]:
    """The release's wheel and sdist. Raises :class:`ConfigurationError` when it has no wheel."""
    found = tuple(
        Item(
            filename=one.file,
            project=canonicalize_name(said.distribution),
            version=said.version.pep440,
            sha256=one.sha256,
            size=one.size,
            kind="wheel" if one.kind == "wheel" else "sdist",
        )
        for kind in ("wheel", "sdist")  # pip prefers the wheel: with it there nobody builds the sdist
        for one in said.artifacts
        if one.kind == kind
    )
    if not any(one.kind == "wheel" for one in found):
        raise ConfigurationError(
            f"{said.name} {said.version.pep440} was built without a wheel, which is what an index holds",
            where="[tool.release] formats",
            hint='add "wheel" to the formats and build again',
        )
    return found


def dependencies(said: Manifest) -> tuple[Item, ...]:
    """The locked dependencies: all wheels of all wheelhouses but the release's own.

    Raises :class:`ConfigurationError` when there is no wheelhouse, and when two targets have different wheels of one
    name: an index cannot have both.
    """
    found: dict[str, Item] = {}
    houses = [one for one in said.artifacts if one.kind == "wheelhouse"]
    if not houses:
        raise ConfigurationError(
            f"{said.name} {said.version.pep440} was built without a wheelhouse",
            where="[tool.release.publish] wheelhouse",
            hint='add "wheel" to the formats and build again',
        )
    for house in houses:
        for entry in house.extras:
            path = PurePosixPath(entry.path)
            if path.parent == _WHEELS and path.suffix == ".whl":
                project, version = path.name.split("-")[:2]
                item = Item(
                    filename=path.name,
                    project=canonicalize_name(project),
                    version=version,
                    sha256=entry.sha256,
                    size=entry.size,
                    kind="wheel",
                    archive=house.file,
                )
                _require_one(found.setdefault(path.name, item), item)
    ours = canonicalize_name(said.distribution)
    return tuple(one for one in found.values() if one.project != ours)


def _require_one(first: Item, second: Item) -> None:
    if first.sha256 != second.sha256:
        raise ConfigurationError(
            f"{first.filename} is not the same in {first.archive} and {second.archive}",
            where="[tool.release.publish] wheelhouse",
            hint="an index holds one file of a name: give each target an index of its own",
        )


def source(item: Item, release: Outgoing) -> Path | Part:
    """Where the bytes of *item* lie in the folder of *release*."""
    if not item.archive:
        return release.folder / item.filename
    path = release.folder / item.archive
    with tarfile.open(path) as archive:
        found = archive.getmember(str(_WHEELS / item.filename))
    return Part(path=path, start=found.offset_data, size=found.size)


def documents(release: Outgoing) -> bytes:
    """A zip of all that vouches for the release: manifest, SBOM, provenance, sums, signatures, attestations."""
    artifacts = {one.file for one in release.manifest.artifacts}
    names = [
        path.relative_to(release.folder)
        for path in sorted(release.folder.rglob("*"))
        if path.is_file() and path.name not in artifacts
    ]
    members = [Member(path=str(one), source=release.folder / one) for one in names if one.parts[0] != _LOGS]
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "documents.zip"
        zipped.write_deflated_zip(path, members)
        return path.read_bytes()


def documents_item(release: Outgoing, data: bytes) -> Item:
    """The item for the zip of :func:`documents`."""
    project = canonicalize_name(release.manifest.distribution)
    version = release.manifest.version.pep440
    return Item(
        filename=f"{project}-{version}{DOCUMENTS}",
        project=project,
        version=version,
        sha256=files.sha256_bytes(data),
        size=len(data),
        kind="documents",
    )
