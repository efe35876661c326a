"""What the debs of a release need of Debian, out of the lock: for hosts that reach no mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce import inputs
from buildonce import target as targets
from buildonce.debs import closure, deb
from buildonce.debs.closure import names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buildonce.lock import Lock
    from buildonce.manifest import Manifest
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["needed", "of"]


def of(said: Manifest, folder: Path, project: Project, lock: Lock, system: System) -> dict[str, tuple[Path, ...]]:
    """Codename of a Debian release → the locked packages that the debs for it need, with all that these need.

    *said* is the release in *folder*, built from *lock*. Brings all locked packages of its targets: see
    :func:`buildonce.inputs.bring` for what that raises.
    """
    known = {one.name: one for one in targets.of(project.settings)}
    found: dict[str, dict[str, Path]] = {}
    for artifact in said.artifacts:
        if artifact.kind == "deb":
            target = known[artifact.target]
            wanted = [inputs.Needed(file=pin.file, by=(f"{target.name}: OS packages",)) for pin in lock.debs(target)]
            paths = inputs.bring(wanted, system).values()
            chosen = needed(deb.read(folder / artifact.file).fields["Depends"], paths)
            found.setdefault(target.codename, {}).update({path.name: path for path in chosen})
    return {codename: tuple(paths[name] for name in sorted(paths)) for codename, paths in found.items()}


def needed(depends: str, locked: Iterable[Path]) -> tuple[Path, ...]:
    """Those of the *locked* packages that the relations *depends* come to, sorted by name.

    Not what every Debian has (``Essential: yes``, Debian Policy 3.8; not all have what is of the priority "required"),
    nor what is no part of a lock, as the host's init system.
    """
    found = {path: deb.read(path).fields for path in locked}
    by_name = {fields["Package"]: path for path, fields in found.items()}
    relations = [alternatives for alternatives in names(depends) if by_name.keys() & set(alternatives)]
    roots = [next(name for name in alternatives if name in by_name) for alternatives in relations]
    everywhere = [fields["Package"] for fields in found.values() if fields.get("Essential") == "yes"]
    return tuple(by_name[name] for name in closure(found.values(), roots, everywhere))
