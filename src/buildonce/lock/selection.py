"""What one target takes of a PEP 751 lock, with tags and markers that need no interpreter of that target."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from packaging.pylock import PackageArchive, PackageSdist, PackageWheel, PylockSelectError
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from buildonce import target as targets
from buildonce.errors import LockError, Problem
from buildonce.model import Chosen, Digest, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packaging.markers import Environment
    from packaging.pylock import Package, Pylock
    from packaging.tags import Tag

    from buildonce.model import Target

__all__ = ["remote_file", "select"]

_MOST_TAGS_SHOWN = 8


def select(lock: Pylock, target: Target, *, root: Path, where: str, group: str | None = None) -> tuple[Chosen, ...]:
    """The files of *lock* for *target*, sorted by name. ``path`` entries are relative to *root*.

    Raises :class:`LockError` with a problem for every package that has neither a fitting wheel nor an sdist.
    """
    tags = targets.tags(target)
    groups = list(lock.default_groups or ()) if group is None else [group]
    unfit = tuple(_unfit(lock, target, frozenset(tags), groups, where))
    if unfit:
        raise LockError.of(unfit)
    environment = cast("Environment", targets.markers(target))
    try:
        picked = list(lock.select(environment=environment, tags=tags, dependency_groups=groups))
    except PylockSelectError as error:
        raise LockError(
            f"the lock does not fit {target.name}: {error}", where=where, hint="run `release lock`"
        ) from error
    chosen = (_chosen(package, artifact, root, where) for package, artifact in picked)
    return tuple(sorted(chosen, key=lambda one: one.name))


def _unfit(lock: Pylock, target: Target, tags: frozenset[Tag], groups: list[str], where: str) -> Iterator[Problem]:
    """All packages without a fitting file; ``select()`` stops at the first and does not say what there is."""
    context: dict[str, str | frozenset[str]] = {
        **targets.markers(target),
        "extras": frozenset(),
        "dependency_groups": frozenset(groups),
    }
    for package in lock.packages:
        if package.marker and not package.marker.evaluate(context, context="lock_file"):
            continue
        available = _tags(package)
        if available and not available & tags and package.sdist is None:
            yield Problem(
                message=f"{package.name} {package.version or ''} has no wheel for {target.name}"
                " and no sdist to compile",
                where=where,
                hint=f"its wheels are for {_shown(available)}; choose another version, or another target",
            )


def _tags(package: Package) -> set[Tag]:
    if package.archive and remote_name(package.archive).endswith(".whl"):
        return set(parse_wheel_filename(remote_name(package.archive))[-1])
    return {tag for wheel in package.wheels or () for tag in parse_wheel_filename(wheel.filename)[-1]}


def _shown(available: set[Tag]) -> str:
    names = sorted(str(tag) for tag in available)
    more = len(names) - _MOST_TAGS_SHOWN
    return ", ".join(names[:_MOST_TAGS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _chosen(package: Package, artifact: object, root: Path, where: str) -> Chosen:
    if not isinstance(artifact, PackageWheel | PackageSdist | PackageArchive):
        raise LockError(f"{package.name} is not a file", where=where, hint="run `release lock`")
    file = remote_file(artifact, root=root)
    version = str(package.version) if package.version else _version(file.filename, where)
    return Chosen(name=str(package.name), version=version, file=file)


def remote_file(artifact: PackageWheel | PackageSdist | PackageArchive, *, root: Path) -> RemoteFile:
    """The locked file behind an entry of the lock."""
    name = remote_name(artifact) if isinstance(artifact, PackageArchive) else artifact.filename
    return RemoteFile(
        filename=name,
        sha256=Digest(artifact.hashes["sha256"]),
        size=artifact.size,
        url=artifact.url or "",
        path=root / artifact.path if artifact.path and not artifact.url else None,
    )


def remote_name(archive: PackageArchive) -> str:
    """The file name of a direct reference, which has no name of its own in the lock."""
    return unquote(urlsplit(archive.url or archive.path or "").path.rsplit("/", 1)[-1])


def _version(filename: str, where: str) -> str:
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidSdistFilename, InvalidWheelFilename) as error:
        raise LockError(
            f"{filename} is an archive without a version in its name",
            where=where,
            hint="depend on a released sdist or wheel instead, then `release lock`",
        ) from error
