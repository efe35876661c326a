"""``release bundle --inputs``: everything that a release is built from, in one file or in vaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce import inputs, manifest, vault
from buildonce import lock as locks
from buildonce import project as projects
from buildonce.errors import ConfigurationError, LockError
from buildonce.vault import bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.lock import Lock
    from buildonce.manifest import Manifest
    from buildonce.model import Digest
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.vault import Keeper, Kept

__all__ = ["Bundled", "make", "require_lock_of"]

_WRITABLE: Final = "a folder or oci://host/name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """What was put where."""

    name: str
    lock: Digest  # names the lock that these are the inputs of
    files: int
    size: int  # bytes of all inputs
    bundle: Path | None  # the file, when one was written
    kept: tuple[Kept, ...]  # one a vault


def make(
    root: Path, system: System, *, release: Path | None = None, out: Path | None = None, to: Sequence[str] = ()
) -> Bundled:
    """Put the inputs of the project in *root* into the file *out*, or into the vaults *to*, else the configured ones.

    With *release*, a release folder, only when the project's lock is the one that it was built from. Raises
    :class:`ConfigurationError` when nothing says where to, :class:`LockError` for another lock, and what fetching and
    writing raise.
    """
    system.store.make_sure_it_can_be_written()
    project = projects.read(root)
    lock = locks.read(project)
    if release is not None:
        require_lock_of(_read(release), lock)
    system = replace(system, vaults=vault.configured(project, system.net))
    inputs.require(project, lock, (), system)
    kept: tuple[Kept, ...] = ()
    if out is None:
        kept = inputs.keep(project, lock, _places(project, system, to), system, thorough=True)
    found = inputs.contents(project, lock, system)
    if out is not None:
        inputs.bring_all(project, lock, system)
        system.progress.step(f"bundle {len(found.inputs)} inputs")
        bundle.write(out, found, system.progress)
    return Bundled(
        name=project.name, lock=found.digest, files=len(found.inputs), size=found.size, bundle=out, kept=kept
    )


def _places(project: Project, system: System, to: Sequence[str]) -> tuple[Keeper, ...]:
    """The vaults to write: those named, else those configured."""
    named = [vault.open_vault(place, system.net, root=project.root, where="--to") for place in to]
    found = vault.writable(named or system.vaults)
    if named and len(found) < len(named):
        raise ConfigurationError(f"this vault can only be read; {_WRITABLE} can be written", where="--to")
    if not found:
        raise ConfigurationError(
            "nothing says where to keep the inputs",
            where="[tool.release] vault",
            hint=f"name a file with --out, or {_WRITABLE} with --to or as `vault` under [tool.release]",
        )
    return found


def _read(release: Path) -> Manifest:
    path = release / manifest.FILE
    try:
        return manifest.read(path.read_bytes(), where=str(path))
    except OSError as error:
        raise ConfigurationError(
            f"there is no release: {error.strerror}", where=str(path), hint="name a folder that `release build` wrote"
        ) from error


def require_lock_of(made: Manifest, lock: Lock) -> None:
    """Raise :class:`LockError` unless the release *made* was built from *lock*."""
    if dict(made.locks) != dict(lock.files):
        raise LockError(
            f"the lock here is not the one that {made.name} {made.version.pep440} was built from",
            where=str(lock.root),
            hint=f"git checkout {made.source.commit}",
        )
