"""The releases that were built here: the folders in ``dist``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from buildonce import manifest
from buildonce import version as versions
from buildonce.errors import ConfigurationError, ReleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.project import Project

__all__ = ["find"]


def find(project: Project, what: str) -> Path:
    """The release that *what* names: a folder, or a version that was built here; for ``""`` the newest.

    Raises :class:`ReleaseError` when there is none.
    """
    dist = project.root / "dist"
    built = _built(dist, project.name)
    if not what:
        if built:
            return built[max(built, key=Version)]
        raise ReleaseError("nothing was built here", where=str(dist), hint="release build")
    if (project.root / what / manifest.FILE).is_file():
        return project.root / what
    try:
        return built[versions.spell(what).pep440]
    except (ConfigurationError, KeyError):
        raise ReleaseError(
            f"there is no release {what!r} here",
            where=str(dist),
            hint=f"built here: {', '.join(built) or 'nothing'}; or name the folder of a release",
        ) from None


def _built(dist: Path, name: str) -> Mapping[str, Path]:
    """By version, PEP 440."""
    found = {}
    for path in sorted(dist.glob(f"{name}-*/{manifest.FILE}")):
        version = path.parent.name.removeprefix(f"{name}-")
        try:
            Version(version)
        except InvalidVersion:
            continue
        found[version] = path.parent
    return found
