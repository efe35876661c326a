"""Build requirements: locked like everything else, in one environment (dependency group) per sdist.

The way is that of PEP 517: what ``[build-system]`` requires, then what the backend asks for when it runs in
an environment with that, again until nothing new is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import fetch, sdists
from buildonce.errors import LockError
from buildonce.lock import inputs, python, selection, uv
from buildonce.lock import settings as uv_settings
from buildonce.lock.groups import Packages, document
from buildonce.lock.tidy import tidy
from buildonce.lock.toml import parse
from buildonce.project import LEGACY_REQUIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from packaging.pylock import Pylock

    from buildonce.model import Chosen, DebPin, Target
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["PROJECT", "TOOLS", "Asked", "Builds", "make", "requires_of"]

PROJECT: Final = "project"
TOOLS: Final = "tools"
_WHERE: Final = "pylock.build.toml"
_ROUNDS: Final = 4
_LARGEST_PYPROJECT: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A backend to be asked for ``get_requires_for_build_wheel``, in *target*'s build root."""

    subject: Chosen | Project
    target: Target
    requires: tuple[Chosen, ...]  # what is locked for it so far: the environment to ask it in
    debs: tuple[DebPin, ...]  # the build root
    sdist: Path | None  # the verified sdist; None for the project


@dataclass(frozen=True, kw_only=True, slots=True)
class Builds:
    """What there is to build: for the project and for every sdist that some target takes."""

    project: Project
    targets: tuple[Target, ...]  # those that have a build root of their own
    chosen: Mapping[str, tuple[Chosen, ...]]  # what each target takes, by its name
    debs: Mapping[str, tuple[DebPin, ...]]  # its OS packages
    ask: Callable[[Asked], tuple[str, ...]] | None  # None when only static requirements count


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    name: str
    static: tuple[str, ...]
    subjects: list[tuple[Chosen | Project, Target, Path | None]] = field(default_factory=list)


def make(builds: Builds, system: System) -> dict[str, Packages]:
    """The locked packages of every group.

    Raises :class:`LockError` when no wheels can be found for a group, naming it.
    """
    resolved: dict[tuple[str, ...], Packages] = {}
    made: dict[str, Packages] = {}
    for group in _groups(builds, system):
        wanted = group.static
        for _ in range(_ROUNDS):
            if wanted not in resolved:
                system.progress.note(f"build requirements of {group.name}: {', '.join(wanted) or 'none'}")
                resolved[wanted] = _resolve(group.name, wanted, builds, system)
            made[group.name] = resolved[wanted]
            more = _asked(group, made[group.name], builds)
            if more <= set(wanted):
                break
            wanted = tuple(sorted({*wanted, *more}))
        else:
            raise LockError(f"the build backend of {group.name} asks for something else each time", where=_WHERE)
    return made


def _groups(builds: Builds, system: System) -> list[_Group]:
    compiled = [
        (target, one) for target in builds.targets for one in builds.chosen.get(target.name, ()) if one.compiles
    ]
    found = fetch.fetch([one.file for _, one in compiled], store=system.store, net=system.net, progress=system.progress)
    own = _Group(name=PROJECT, static=tuple(sorted(builds.project.build_requires)))
    own.subjects.extend((builds.project, target, None) for target in builds.targets)
    groups = {PROJECT: own, TOOLS: _Group(name=TOOLS, static=inputs.tools())}
    for name in sorted({one.name for _, one in compiled}):
        if name in groups:
            raise LockError(
                f"a dependency named {name!r} cannot be compiled: the lock needs the name for itself",
                where=_WHERE,
                hint=f"use a version of {name} that has a wheel",
            )
        subjects = [(one, target, found[one.file.sha256]) for target, one in compiled if one.name == name]
        static = {line for _, _, sdist in subjects for line in requires_of(sdist)}
        groups[name] = _Group(name=name, static=tuple(sorted(static)), subjects=[*subjects])
    return [groups[name] for name in sorted(groups)]


def requires_of(sdist: Path) -> tuple[str, ...]:
    """``[build-system] requires`` of an sdist; what PEP 517 prescribes when it names none.

    Raises :class:`buildonce.errors.VerificationError` when the archive cannot be read, :class:`LockError`
    when its table cannot.
    """
    with sdists.items(sdist) as items:
        for item in items:
            if item.path.count("/") == 1 and item.path.endswith("/pyproject.toml") and item.open:
                with item.open() as stream:
                    return _requires(stream.read(_LARGEST_PYPROJECT), f"{sdist.name}: pyproject.toml")
    return LEGACY_REQUIRES


def _requires(pyproject: bytes, where: str) -> tuple[str, ...]:
    table = parse(pyproject, where).get("build-system")
    if table is None:
        return LEGACY_REQUIRES
    requires = table.get("requires")
    if not isinstance(requires, list) or not all(isinstance(line, str) for line in requires):
        raise LockError("[build-system] has no list of requirements (PEP 518)", where=where)
    return tuple(requires)


def _asked(group: _Group, packages: Packages, builds: Builds) -> set[str]:
    if builds.ask is None or not group.subjects:
        return set()
    lock = python.pylock(document({group.name: packages}, builds.targets), _WHERE)
    questions = [
        Asked(
            subject=subject,
            target=target,
            requires=_select(lock, target, group.name),
            debs=builds.debs[target.name],
            sdist=sdist,
        )
        for subject, target, sdist in group.subjects
    ]
    return {line for question in questions for line in builds.ask(question)}


def _resolve(name: str, wanted: tuple[str, ...], builds: Builds, system: System) -> Packages:
    if not wanted:
        return []
    request = uv.Request(
        name=f"the build requirements of {name} ({', '.join(wanted)})",
        requirements=wanted,
        targets=builds.targets,
        settings=uv_settings.of_builds(uv_settings.read(builds.project.root)),
        wheels_only=True,
    )
    packages = tidy(uv.compile(request, system.host).get("packages", ()), builds.targets)
    # A build requirement that had to be compiled itself would need build requirements: wheels end that.
    wheels = [{key: value for key, value in package.items() if key != "sdist"} for package in packages]
    lock = python.pylock(document({name: wheels}, builds.targets), _WHERE)
    for target in builds.targets:
        _select(lock, target, name)
    return wheels


def _select(lock: Pylock, target: Target, group: str) -> tuple[Chosen, ...]:
    return selection.select(lock, target, root=Path(), where=_WHERE, group=group)
