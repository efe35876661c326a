"""Every file that a locked release is built from: what needs it, bringing all of it, and keeping it in vaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import fetch, vault
from buildonce import target as targets
from buildonce.errors import Problem, ReleaseError
from buildonce.model import Digest, RemoteFile
from buildonce.system import files
from buildonce.system.net import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from buildonce.lock import Lock
    from buildonce.model import Target
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.vault import Keeper, Kept

__all__ = ["KEEP", "Needed", "bring", "bring_all", "contents", "keep", "of", "require"]

KEEP: Final = "release bundle --inputs"
_LOCK: Final = "the lock"
_BASE: Final = "the image's base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """A locked file, and what needs it: ``debian-12: build of psycopg2``."""

    file: RemoteFile
    by: tuple[str, ...]


def of(lock: Lock, wanted: Iterable[Target]) -> tuple[Needed, ...]:
    """What *wanted* targets are built from, sorted by file name; each file once."""
    found: dict[tuple[str, Digest], tuple[RemoteFile, set[str]]] = {}
    for file, by in (need for target in wanted for need in _needs(lock, target)):
        found.setdefault((file.filename, file.sha256), (file, set()))[1].add(by)
    return tuple(Needed(file=file, by=tuple(sorted(by))) for _, (file, by) in sorted(found.items()))


def _needs(lock: Lock, target: Target) -> Iterator[tuple[RemoteFile, str]]:
    yield from ((one.file, f"{target.name}: wheelhouse") for one in lock.select(target))
    for group in lock.groups:
        what = group if group == "tools" else f"build of {'the project' if group == 'project' else group}"
        yield from ((one.file, f"{target.name}: {what}") for one in lock.build(target, group))
    yield from ((pin.file, f"{target.name}: OS packages") for pin in lock.debs(target))
    if target.build_on:
        yield from ((pin.file, f"{target.name}: build root") for pin in lock.debs(target.build_on))


def bring(needed: Sequence[Needed], system: System) -> dict[Digest, Path]:
    """All of *needed*, verified, in the store.

    Raises :class:`ReleaseError` when the system is offline and files are neither in the store nor in a vault: one
    problem for each, with its name, its sha256 and what needs it. Else as :func:`buildonce.fetch.fetch` does.
    """
    system.progress.step(f"inputs: {len(needed)} files")
    try:
        return fetch.fetch(
            [one.file for one in needed],
            store=system.store,
            net=system.net,
            progress=system.progress,
            vaults=system.vaults,
            offline=system.offline,
        )
    except fetch.MissingError as error:
        lines = {(one.file.filename, one.file.sha256): ", ".join(one.by) for one in needed}
        rows = sorted((file.filename, file.sha256) for file in error.missing)
        told = error.problems[0]
        more = tuple(Problem(message=f"{name} sha256:{sha256}", where=lines[name, sha256]) for name, sha256 in rows)
        raise ReleaseError(told.message, where=told.where, hint=told.hint, more=more) from error


def require(project: Project, lock: Lock, wanted: Iterable[Target], system: System) -> None:
    """Bring what a build for *wanted* needs, all of it before anything else is done.

    Also a pinned base image that is no longer beside the project: it comes from the vaults. Raises as :func:`bring`.
    """
    if system.vaults:
        _restore_base(project, lock, system)
    if system.offline:
        bring(of(lock, wanted), system)


def keep(project: Project, lock: Lock, vaults: Sequence[Keeper], system: System, *, thorough: bool) -> tuple[Kept, ...]:
    """Put the inputs of all of the lock's targets into *vaults*, first bringing those that the store lacks.

    Without *thorough*, a vault that lists all of them is believed. Raises :class:`vault.DeniedError` when this user may
    not write, :class:`ReleaseError` when something fails.
    """
    found = contents(project, lock, system)
    kept = []
    for one in vaults:
        if not thorough and one.listing(found.digest) == found.listing:
            kept.append(vault.Kept(vault=one.name, files=len(found.inputs), added=0, added_bytes=0))
            continue
        bring_all(project, lock, system)
        system.progress.step(f"keep {len(found.inputs)} inputs in {one.name}")
        kept.append(one.keep(found, system.progress, thorough=thorough))
    return tuple(kept)


def bring_all(project: Project, lock: Lock, system: System) -> None:
    """Bring the inputs of all targets of *project*. Raises as :func:`bring`."""
    bring(_all(project, lock), system)


def _all(project: Project, lock: Lock) -> tuple[Needed, ...]:
    return of(lock, targets.of(project.settings))


def contents(project: Project, lock: Lock, system: System) -> vault.Contents:
    """What a vault keeps for *lock*: the inputs of all its targets, the lock's files, and a base image's archive."""
    needed = _all(project, lock)
    if any(one.file.size is None for one in needed):
        bring(needed, system)  # else nobody knows
    found = {}
    for one in needed:
        place = system.store.place(one.file.sha256, one.file.filename)
        found[one.file.sha256] = vault.Input(
            name=one.file.filename,
            sha256=one.file.sha256,
            size=place.stat().st_size if one.file.size is None else one.file.size,
            path=place,
            url=shown(one.file.url),
            needed_by=one.by,
        )
    for name, sha256 in lock.files.items():
        path = lock.root / name
        found[sha256] = vault.Input(name=name, sha256=sha256, size=path.stat().st_size, path=path, needed_by=(_LOCK,))
    if base := _base(project, system):
        sha256 = files.sha256_file(base)
        size = base.stat().st_size
        found[sha256] = vault.Input(name=_base_name(project), sha256=sha256, size=size, path=base, needed_by=(_BASE,))
    return vault.Contents(lock=lock.files, inputs=tuple(found[sha256] for sha256 in sorted(found)))


def _base(project: Project, system: System) -> Path | None:
    """The archive of the configured base image, when it is beside the project or was brought back."""
    place, _, expected = project.settings.image.base.partition("@sha256:")
    found = (project.root / place, system.store.root / "bases" / f"{expected}.tar")
    return next((path for path in found if place and path.is_file()), None)


def _base_name(project: Project) -> str:
    return Path(project.settings.image.base.partition("@sha256:")[0]).name


def _restore_base(project: Project, lock: Lock, system: System) -> None:
    """Bring back the archive of a base image that is pinned by digest, as a vault lists it for this lock."""
    _, _, expected = project.settings.image.base.partition("@sha256:")
    kept = system.store.root / "bases" / f"{expected}.tar"
    if not expected or _base(project, system):
        return
    digest = vault.lock_digest(lock.files)
    for one in system.vaults:
        try:
            data = one.listing(digest)
            listed = vault.read_listing(data, where=one.name).get(_base_name(project)) if data else None
        except ReleaseError as error:
            system.progress.note(f"the vault {one.name} has a listing that cannot be had: {error}")
            continue
        if listed is None:
            continue
        file = RemoteFile(filename=_base_name(project), sha256=listed[0], size=listed[1])
        found = fetch.fetch(
            [file], store=system.store, net=system.net, progress=system.progress, vaults=[one], offline=True
        )
        kept.parent.mkdir(exist_ok=True)
        with files.scratch(kept.parent, "base") as aside:  # read by its pinned digest, which checks every byte
            os.link(found[file.sha256], aside / "base")
            (aside / "base").replace(kept)
        return
