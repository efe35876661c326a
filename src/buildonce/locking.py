"""``release lock``: resolves once, for all targets, and asks every build backend what it needs, in the build root."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce import buildenv, buildroot, fetch, sdists
from buildonce import lock as locks
from buildonce import project as projects
from buildonce.errors import SourceError
from buildonce.model import Command, Wheel
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.lock import Asked, Compiles, Lock
    from buildonce.model import Chosen, RunnerName
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["Locked", "make"]

# A backend that takes the version from git wants one before it answers anything, and there may be no commit yet. Only
# the project itself is asked with these: for a dependency's sdist they would be somebody else's version.
_NO_VERSION: Final = {
    "SETUPTOOLS_SCM_PRETEND_VERSION": "0",
    "VCS_VERSIONING_PRETEND_VERSION": "0",
    "PDM_BUILD_SCM_VERSION": "0",
    "POETRY_DYNAMIC_VERSIONING_BYPASS": "0",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """A lock that was just made, and what a person should know about it."""

    project: Project
    lock: Lock
    compiles: tuple[Compiles, ...]


def make(root: Path, system: System, way: RunnerName = "auto", *, limit: float = buildroot.LIMIT) -> Locked:
    """Lock the project in *root*; its three lock files are written together or not at all.

    *way* is how backends are asked in the build root, each for at most *limit* seconds. Raises
    :class:`buildonce.errors.LockError` when something cannot be resolved.
    """
    system.store.make_sure_it_can_be_written()
    project = projects.read(root)
    lock = locks.make(project, system, extra_requires=_asks(project, system, way, limit))
    return Locked(project=project, lock=lock, compiles=locks.report(lock, project))


def _asks(project: Project, system: System, way: RunnerName, limit: float) -> Callable[[Asked], tuple[str, ...]]:
    """Asks a backend for its dynamic build requirements (PEP 517's ``get_requires_for_build_wheel``)."""

    def ask(asked: Asked) -> tuple[str, ...]:
        wanted = [*(one.file for one in asked.requires), *(pin.file for pin in asked.debs)]
        found = fetch.fetch(wanted, store=system.store, net=system.net, progress=system.progress)
        debs = tuple(found[pin.file.sha256] for pin in asked.debs)
        root = buildroot.ensure(
            asked.target, asked.debs, debs, system.store, progress=system.progress, host=system.host, way=way
        )
        runner = buildroot.runner(way, root, system.host, limit=limit)
        wheels = [_wheel(one, found[one.file.sha256]) for one in asked.requires]
        env = buildenv.make(wheels, target=asked.target, store=system.store, runner=runner)
        with files.scratch(system.store.root, "ask") as work:
            answer = buildenv.call(
                "requires_for_wheel",
                env=env,
                source=_source(asked, project, work, system),
                out=work / "out",
                runner=runner,
                environment=_NO_VERSION if asked.sdist is None else {},
                log=None,
            )
        return tuple(json.loads(answer))

    return ask


def _wheel(one: Chosen, path: Path) -> Wheel:
    return Wheel(name=one.name, version=one.version, path=path, sha256=one.file.sha256, size=path.stat().st_size)


def _source(asked: Asked, project: Project, work: Path, system: System) -> Path:
    """What the backend looks at: the sdist, or the project as it stands in the folder (there may be no commit yet)."""
    if asked.sdist is not None:
        return sdists.unpack(asked.sdist, work / "sdist")
    listed = system.host.run(
        Command(
            argv=("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            cwd=str(project.root),
            capture=True,
        ),
        check=False,
    )
    if listed.returncode:
        raise SourceError(
            "this folder is not in a git repository",
            where=str(project.root),
            hint="git init && git add -A && git commit",
        )
    for name in os.fsdecode(listed.stdout).split("\0"):
        if name and (project.root / name).is_file():
            files.copy_file(project.root / name, work / "project" / name)
    return work / "project"
