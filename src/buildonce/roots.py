"""The build roots on this machine and in its Docker engine: what there is, made ready, gone into, and removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce import buildenv, buildroot, workbench
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import source as sources
from buildonce import target as targets
from buildonce.errors import MissingToolError
from buildonce.system import engine, files, images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from buildonce.model import Command, Outcome, RunnerName, Target
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.workbench import Workbench

__all__ = ["Place", "Removed", "Root", "Session", "create", "gc", "listed", "opened"]

_DAY: Final = 86400


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What is to be run where."""

    project: Path
    target: str = ""  # "" for the project's first
    runner: RunnerName = "auto"
    limit: float = buildroot.LIMIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """A build root: in the store, in the engine, or in both. Sizes in bytes, 0 for not there."""

    key: str
    target: str  # "debian-12"; "" for one that only the engine has and no lock names
    stored: int
    image: int
    used: float  # epoch
    locked: bool  # whether the lock of the present project is for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """What was removed, or would be."""

    roots: tuple[Root, ...]
    busy: tuple[Root, ...]  # which a running build holds: they stay
    hosts: tuple[engine.Image, ...] = ()  # of hosts that `release up` starts
    containers: int = 0  # that killed builds left in the engine

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(root.stored + root.image for root in self.roots) + sum(host.size for host in self.hosts)


def listed(project: Path, system: System) -> tuple[Root, ...]:
    """All roots, last used first. Looks only; an engine that does not answer has none."""
    locked = _locked(project)
    stored = {path.name: path for path in _stored(system)}
    by_key = {image.tag.rpartition(":")[2]: image for image in _images()}
    found = [
        Root(
            key=key,
            target=locked.get(key) or (_described(stored[key]) if key in stored else ""),
            stored=_size(stored[key]) if key in stored else 0,
            image=by_key[key].size if key in by_key else 0,
            used=system.store.last_held(stored[key]) if key in stored else by_key[key].made,
            locked=key in locked,
        )
        for key in stored.keys() | by_key.keys()
    ]
    return tuple(sorted(found, key=lambda root: (-root.used, root.key)))


def create(place: Place, system: System) -> tuple[Root, ...]:
    """Make the roots of the project's lock (or of one target) ready: fetched, unpacked, in the engine if it is used."""
    project = projects.read(place.project)
    lock = locks.read(project)
    benches = [
        workbench.prepare(target, lock, system, place.runner, limit=place.limit) for target in _wanted(place, project)
    ]
    for bench in benches:
        if isinstance(bench.runner, buildroot.DockerRunner):
            bench.runner.ready()
    made = {bench.root_key for bench in benches}
    return tuple(root for root in listed(place.project, system) if root.key in made)


def gc(project: Path, system: System, *, days: float, dry_run: bool) -> Removed:
    """Remove the roots that neither the project's lock names nor any build used in the last *days*, and images of hosts
    that were not used in these days.

    Those that a running build or container holds stay. With *dry_run* nothing is removed.
    """
    before = time.time() - days * _DAY
    old = [root for root in listed(project, system) if not root.locked and root.used < before]
    hosts = tuple(host for host in _hosts() if host.made < before)
    if dry_run:
        return Removed(roots=tuple(old), busy=(), hosts=hosts)
    busy = [root for root in old if root.stored and not system.store.remove(system.store.root / "roots" / root.key)]
    gone = [root for root in old if root not in busy]
    containers = 0
    with contextlib.suppress(MissingToolError):
        for root in gone:
            if root.image:
                engine.remove_image(buildroot.image(root.key))
        hosts = tuple(host for host in hosts if engine.remove_image(host.tag))
        containers = engine.sweep(time.time() - _DAY)
    for abandoned in (system.store.root / "roots").glob(".*.*"):  # by a build that was killed while it made one
        if abandoned.is_dir() and abandoned.stat().st_mtime < time.time() - _DAY:
            shutil.rmtree(abandoned, ignore_errors=True)
    return Removed(roots=tuple(gone), busy=tuple(busy), hosts=hosts, containers=containers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A build root as the step sees it that builds the project's wheel."""

    bench: Workbench
    command: Command

    def interact(self) -> int:
        """Join this terminal with a shell until it ends; answers its exit code."""
        terminal = (("TERM", os.environ.get("TERM", "dumb")),)
        shell = replace(self.command, argv=("/bin/bash",), environment=(*self.command.environment, *terminal))
        return self.bench.runner.interact(shell)

    def run(self, line: str) -> Outcome:
        """Run a line of shell."""
        return self.bench.runner.run(replace(self.command, argv=("/bin/sh", "-c", line)), check=False)


@contextlib.contextmanager
def opened(place: Place, system: System) -> Iterator[Session]:
    """Prepare a clean clone of the project's commit, with local changes, and all that its backend is given.

    The clone is at ``/build/src``, the build environment at ``/build/env``; what is written is gone afterwards.
    """
    project = projects.read(place.project)
    lock = locks.read(project)
    target = _wanted(place, project)[0]
    source = sources.inspect(project.root, system.host, allow_dirty=True, progress=system.progress)
    bench = workbench.prepare(target, lock, system, place.runner, limit=place.limit)
    env = bench.environment(lock.build(target, "project"), system)
    with files.scratch(system.store.root, "shell") as work:
        repository = work / "checkout"
        clone = sources.export(project.root, source, repository, system.host)
        with buildenv.prepared(
            ("/bin/sh",),
            env=env,
            source=clone,
            out=work / "out",
            environment={"SOURCE_DATE_EPOCH": str(source.epoch)},
            repository=repository,
        ) as command:
            yield Session(bench=bench, command=command)


def _wanted(place: Place, project: Project) -> tuple[Target, ...]:
    return targets.chosen(project.settings, (place.target,) if place.target else (), where="TARGET")


def _locked(folder: Path) -> Mapping[str, str]:
    """The keys of the roots that the project's lock is for, each with its target; none without a project or lock."""
    if not (folder / "pyproject.toml").is_file() or not (folder / "debs.lock.toml").is_file():
        return {}
    project = projects.read(folder)
    lock = locks.read(project)
    builders = {target.builder for target in targets.of(project.settings)}
    return {buildroot.key(builder, lock.debs(builder)): builder.name for builder in builders}


def _stored(system: System) -> Iterator[Path]:
    folder = system.store.root / "roots"
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith(".") and path.with_name(f"{path.name}.json").is_file():
            yield path


def _images() -> tuple[engine.Image, ...]:
    try:
        return buildroot.images()
    except MissingToolError:
        return ()


def _hosts() -> tuple[engine.Image, ...]:
    try:
        return images.listed(images.HOST)
    except MissingToolError:
        return ()


def _described(root: Path) -> str:
    """What a root is, as its own os-release(5) says it."""
    lines = (root / "usr/lib/os-release").read_text().splitlines() if (root / "usr/lib/os-release").is_file() else ()
    facts = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    architecture = root / "var/lib/dpkg/arch"
    suffix = architecture.read_text().strip() if architecture.is_file() else ""
    return f"{facts.get('ID', '')}-{facts.get('VERSION_ID', '')}" + (f"-{suffix}" if suffix != "amd64" else "")


def _size(root: Path) -> int:
    rows = json.loads(root.with_name(f"{root.name}.json").read_bytes())
    return sum(row[3] for row in rows if row[1] != "link")
