"""``release lock``: makes the three files, together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomli_w
from packaging.specifiers import SpecifierSet

from buildonce import target as targets_
from buildonce.debs import lock as deblock
from buildonce.errors import LockError, Problem, ReleaseError
from buildonce.lock import build, foreign, groups, inputs, python, sizes, state, trust
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from buildonce.lock.build import Asked
    from buildonce.model import DebPin, Target
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["make"]


def make(
    project: Project, system: System, *, extra_requires: Callable[[Asked], tuple[str, ...]] | None = None
) -> state.Lock:
    """Lock *project* for all its targets and write the files into its folder; answers the new lock.

    *extra_requires* asks a build backend, in the build root, what it needs beside its static requirements. An
    existing lock of another tool decides the versions. Raises :class:`LockError`; nothing is written then.
    """
    targets = targets_.of(project.settings)
    builders = tuple(dict.fromkeys(target.builder for target in targets))
    both = tuple(dict.fromkeys((*targets, *builders)))
    _require_python(project, targets)
    names = ", ".join(target.name for target in targets)
    system.progress.step(f"resolve the dependencies of {project.name} for {names}")
    made = python.make(project, targets, system)
    system.progress.step(f"resolve the OS packages of {', '.join(target.name for target in both)}")
    debs = {target.name: _debs(project, target, system) for target in both}
    system.progress.step("resolve the build requirements")
    builds = build.Builds(project=project, targets=builders, chosen=made.chosen, debs=debs, ask=extra_requires)
    building = groups.document(build.make(builds, system), builders)
    trust.require(building, state.BUILD)
    sizes.fill(building["packages"], builders, system, root=project.root)
    _write(project, both, made, building, debs)
    return state.read(project)


def _require_python(project: Project, targets: Sequence[Target]) -> None:
    """A target whose Python the project does not support would fail much later, and for a strange reason."""
    problems = tuple(_unsupported(project, targets))
    if problems:
        raise LockError.of(problems)


def _unsupported(project: Project, targets: Sequence[Target]) -> Iterator[Problem]:
    for target in targets:
        if not SpecifierSet(project.requires_python).contains(target.python):
            yield Problem(
                message=f"{target.name} has Python {target.python}, the project requires {project.requires_python}",
                where="pyproject.toml: project.requires-python",
                hint="choose other targets under [tool.release], or let the project run on that Python",
            )


def _debs(project: Project, target: Target, system: System) -> tuple[DebPin, ...]:
    said = project.settings.targets.get(target.name)  # none of a target in whose build root others are made
    asked = {
        package: f"pyproject.toml: tool.release.targets.{target.name}.{key}"
        for key in ("toolchain", "runtime", "libraries")
        for package in getattr(said, key, None) or ()
    }
    asked |= {
        package: f"pyproject.toml: tool.release.build.{name}.apt"
        for name, settings in project.settings.build.items()
        for package in settings.apt
    }
    wanted = _packages(project, target)
    return deblock.resolve(target, wanted, system.host, state=system.store.root, asked=asked)


def _packages(project: Project, target: Target) -> tuple[str, ...]:
    """Every OS package that some step on *target* wants by name."""
    asked = {package for settings in project.settings.build.values() for package in settings.apt}
    return tuple(sorted({*target.toolchain, *target.libraries, *target.runtime, *asked}))


def _write(
    project: Project,
    targets: Sequence[Target],
    made: python.Made,
    building: Mapping[str, Any],
    debs: Mapping[str, tuple[DebPin, ...]],
) -> None:
    """pylock.toml goes last and names the digests of the other two: half a set is refused when read."""
    questions = {target.name: deblock.question(target, _packages(project, target)) for target in targets}
    facts: dict[str, Any] = {foreign.ORIGIN: made.origin} if made.origin else {}
    facts |= {"targets": list(project.settings.targets), "inputs": inputs.of(project)}
    if more := [target.name for target in targets if target.name not in project.settings.targets]:
        facts["builders"] = more
    try:
        with files.scratch(project.root, "lock") as aside:
            deblock.write(aside / state.DEBS, debs, questions)
            files.write_atomically(aside / state.BUILD, tomli_w.dumps(building).encode())
            facts["files"] = {name: files.sha256_file(aside / name) for name in (state.BUILD, state.DEBS)}
            tool = {**made.document.get("tool", {}), state.TOOL: facts}
            document = tomli_w.dumps({**made.document, "tool": tool})
            files.write_atomically(aside / state.PYTHON, document.encode())
            for name in (state.DEBS, state.BUILD, state.PYTHON):
                (aside / name).replace(project.root / name)
    except OSError as error:
        raise ReleaseError(f"the lock cannot be written: {error.strerror}", where=str(project.root)) from error
