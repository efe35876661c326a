"""What this machine lacks for what the project asks, with the exact line that installs it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from buildonce import buildroot, inputs, vault
from buildonce import lock as locks
from buildonce import project as projects
from buildonce.errors import LockError, MissingToolError, ReleaseError
from buildonce.system.run import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.project import Project
    from buildonce.protocols import Vault
    from buildonce.system import System

__all__ = ["Finding", "examine"]

State = Literal["ok", "missing", "wrong", "optional"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    needed_for: str
    detail: str = ""  # a version, or what is wrong
    remedy: str = ""  # the line that mends it


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    name: str
    needed_for: str
    optional: bool = False


_PROGRAMS = (
    _Program(name="git", needed_for="the version, and a clean clone to build from"),
    _Program(name="apt-get", needed_for="`release lock`: resolving the targets' OS packages"),
    _Program(name="apt-ftparchive", needed_for="publishing to an apt repository", optional=True),
    _Program(name="docker", needed_for="loading and running the image by hand", optional=True),
    _Program(name="cosign", needed_for="verifying signatures without buildonce", optional=True),
)


def examine(root: Path, system: System) -> tuple[Finding, ...]:
    """Look at the programs, the sandbox, the store and the project's configuration. Changes nothing."""
    return tuple(_findings(root, system))


def _findings(root: Path, system: System) -> Iterator[Finding]:
    for program in _PROGRAMS:
        yield _program(program)
    yield from _ways(system)
    yield _attempt(
        "store",
        "keeping fetched and built files",
        system.store.make_sure_it_can_be_written,
        str(system.store.root),
    )
    what = "pyproject.toml and [tool.release]"
    if (root / "pyproject.toml").is_file():
        yield _attempt("project", what, lambda: projects.read(root), str(root))
        yield from _vaults(root, system)
    else:
        yield Finding(name="project", state="optional", needed_for=what, detail=f"none in {root}")


def _vaults(root: Path, system: System) -> Iterator[Finding]:
    """Whether every configured vault can be reached, and has the inputs of the present lock."""
    what = "rebuilding when upstreams are gone"
    try:
        project = projects.read(root)
        vaults = vault.configured(project, system.net)
    except ReleaseError as error:
        if "vault" in error.problems[0].where.lower():  # the project itself was looked at before
            yield Finding(
                name="vault", state="wrong", needed_for=what, detail=str(error), remedy=error.problems[0].hint
            )
        return
    for one in vaults:
        yield _vault(one, project, what)


def _vault(one: Vault, project: Project, what: str) -> Finding:
    try:
        kept = one.listing(_lock_digest(project)) is not None
    except ReleaseError as error:
        problem = error.problems[0]
        detail = f"{one.name}: {problem.message}"
        return Finding(name="vault", state="wrong", needed_for=what, detail=detail, remedy=problem.hint)
    if kept:
        return Finding(name="vault", state="ok", needed_for=what, detail=f"{one.name} has the inputs of this lock")
    detail = f"{one.name} has not the inputs of this lock"
    return Finding(name="vault", state="optional", needed_for=what, detail=detail, remedy=inputs.KEEP)


def _lock_digest(project: Project) -> Digest:
    try:
        return vault.lock_digest(locks.read(project).files)
    except LockError:
        return vault.lock_digest({})  # no lock yet: nothing is kept for it


def _program(program: _Program) -> Finding:
    found = shutil.which(program.name)
    if found:
        return Finding(name=program.name, state="ok", needed_for=program.needed_for, detail=found)
    return Finding(
        name=program.name,
        state="optional" if program.optional else "missing",
        needed_for=program.needed_for,
        detail="not on this machine",
        remedy=f"sudo apt-get install {PACKAGES[program.name]}",
    )


def _ways(system: System) -> Iterator[Finding]:
    """The two ways to run programs in a build root; one is enough."""
    sandbox, engine = _sandbox(system), _engine()
    if sandbox.state == engine.state == "missing":
        yield replace(sandbox, remedy=f"{sandbox.remedy}; or a Docker engine: {engine.remedy}")
    else:
        yield replace(sandbox, state="optional") if sandbox.state == "missing" else sandbox
        yield replace(engine, state="optional") if engine.state == "missing" else engine


def _sandbox(system: System) -> Finding:
    return _way("sandbox", "the build root, --runner sandbox", lambda: buildroot.check(system.host))


def _engine() -> Finding:
    return _way("docker engine", "the build root, --runner docker", buildroot.engine_version)


def _way(name: str, needed_for: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, state="ok", needed_for=needed_for, detail=look())
    except MissingToolError as error:
        first = error.problems[0]
        return Finding(
            name=name, state="missing", needed_for=needed_for, detail=first.where or str(error), remedy=first.hint
        )


def _attempt(name: str, needed_for: str, action: Callable[[], object], place: str) -> Finding:
    try:
        action()
    except ReleaseError as error:
        first = error.problems[0]
        return Finding(name=name, state="wrong", needed_for=needed_for, detail=first.message, remedy=first.hint)
    return Finding(name=name, state="ok", needed_for=needed_for, detail=place)
