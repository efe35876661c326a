"""What ``release build`` would do, and what is stored already. Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildonce import buildroot
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import source as sources
from buildonce import target as targets

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buildonce.lock import Lock
    from buildonce.model import Format, RemoteFile, Target
    from buildonce.system import System
    from buildonce.system.store import Store

__all__ = ["Plan", "TargetPlan", "make"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetPlan:
    """What is needed for one target; counts of files, and of bytes still to fetch where the lock knows them."""

    target: str
    packages: int
    compiles: tuple[str, ...]  # "psycopg2 2.9.11"
    debs: int
    missing: int  # files that are not in the store
    missing_bytes: int
    build_root: bool  # whether it is made already
    formats: tuple[Format, ...]  # what is made for the target
    builder: str  # the target whose build root the tools run in: the same, or another

    @property
    def compiling(self) -> str:
        """What happens to a package without a wheel."""
        possible = self.builder == self.target
        return "is compiled in the build root" if possible else f"cannot be compiled for {self.target}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a build of this commit would do."""

    name: str
    commit: str
    tag: str
    formats: tuple[Format, ...]
    targets: tuple[TargetPlan, ...]


def make(root: Path, system: System) -> Plan:
    """Read the project, its lock and its commit, and look at the store.

    Raises what ``release build`` would raise for them.
    """
    project = projects.read(root)
    lock = locks.read(project)
    source = sources.inspect(project.root, system.host, allow_dirty=True)
    return Plan(
        name=project.name,
        commit=source.commit,
        tag=source.tag,
        formats=project.settings.formats,
        targets=tuple(
            _target(target, project.settings.formats, lock, system.store) for target in targets.of(project.settings)
        ),
    )


def _target(target: Target, formats: tuple[Format, ...], lock: Lock, store: Store) -> TargetPlan:
    chosen, debs, build_debs = lock.select(target), lock.debs(target), lock.debs(target.builder)
    python = (c.file for c in (*chosen, *lock.build(target)))
    missing = list(_missing([*python, *(d.file for d in (*debs, *build_debs))], store))
    return TargetPlan(
        target=target.name,
        packages=len(chosen),
        compiles=tuple(f"{one.name} {one.version}" for one in chosen if one.compiles),
        debs=len(debs),
        missing=len(missing),
        missing_bytes=sum(file.size or 0 for file in missing),
        build_root=buildroot.exists(target.builder, build_debs, store),
        formats=tuple(one for one in formats if one in target.formats),
        builder=target.builder.name,
    )


def _missing(wanted: Iterable[RemoteFile], store: Store) -> Iterable[RemoteFile]:
    return (
        file for file in {f.sha256: f for f in wanted}.values() if not store.place(file.sha256, file.filename).exists()
    )
