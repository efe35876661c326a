"""The application's dependencies, one PEP 751 document for all targets: from another lock, or resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildonce.errors import LockError, Problem
from buildonce.lock import foreign, importers, selection, sizes, trust, uv
from buildonce.lock import settings as uv_settings
from buildonce.lock.tidy import tidy
from buildonce.lock.toml import parse
from buildonce.target import markers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buildonce.lock.foreign import Existing
    from buildonce.model import Chosen, Target
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["Made", "header", "make", "pylock"]

_WHERE: Final = "pylock.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """The document, and what each target takes of it."""

    document: dict[str, Any]
    origin: str  # whose pins these are: the file name of an existing lock, "" when uv chose them
    chosen: Mapping[str, tuple[Chosen, ...]]  # by target name


def make(project: Project, targets: Sequence[Target], system: System) -> Made:
    """Lock the dependencies of *project*.

    Raises :class:`LockError`: nothing fits, an existing lock is stale, or it holds what cannot be trusted.
    """
    existing = foreign.find(project.root)
    document = _taken(project, existing, targets, system) if existing else _resolved(project, targets, system)
    trust.require(document, existing.kind if existing else _WHERE)
    chosen = _chosen(project, document, targets)
    if existing:
        _require_satisfied(project, targets, chosen, existing)
    sizes.fill(document["packages"], targets, system, root=project.root)
    return Made(
        document=document,
        origin=existing.kind if existing else "",
        chosen=_chosen(project, document, targets),
    )


def header(targets: Sequence[Target]) -> dict[str, Any]:
    """The keys that every PEP 751 document of ours starts with."""
    return {
        "lock-version": "1.0",
        "environments": sorted({uv.environment_marker(target) for target in targets}),
        "created-by": "buildonce",
    }


def pylock(document: Mapping[str, Any], where: str) -> Pylock:
    """*document* as ``packaging`` sees it; a :class:`LockError` when it breaks the specification."""
    try:
        return Pylock.from_dict(document)
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise LockError(f"{where} is not a valid lock: {error}", where=where, hint="run `release lock`") from error


def _chosen(project: Project, document: Mapping[str, Any], targets: Sequence[Target]) -> dict[str, tuple[Chosen, ...]]:
    lock = pylock(document, _WHERE)
    return {target.name: selection.select(lock, target, root=project.root, where=_WHERE) for target in targets}


def _resolved(project: Project, targets: Sequence[Target], system: System) -> dict[str, Any]:
    request = uv.Request(
        name=f"the dependencies of {project.distribution}",
        requirements=project.dependencies,
        targets=tuple(targets),
        settings=uv_settings.read(project.root),
    )
    if "dependencies" in project.dynamic:
        return _document(uv.compile_project(project, request, system.host), targets)
    return _document(uv.compile(request, system.host), targets)


def _taken(project: Project, existing: Existing, targets: Sequence[Target], system: System) -> dict[str, Any]:
    """The document that *existing* stands for: the same versions, the same hashes, nothing chosen anew."""
    if existing.kind == "uv.lock":
        return _document(uv.export(project, system.host), targets)
    if existing.kind == "pylock.toml":  # kept whole: it may serve machines that are no targets
        found = parse(existing.path.read_bytes(), existing.kind)
        return {**found, "packages": tidy(found.get("packages", ()), targets, prune=False)}
    return _document({"packages": importers.packages(existing, project, targets, system)}, targets)


def _document(found: Mapping[str, Any], targets: Sequence[Target]) -> dict[str, Any]:
    requires = {"requires-python": found["requires-python"]} if "requires-python" in found else {}
    return {**header(targets), **requires, "packages": tidy(found.get("packages", ()), targets)}


def _require_satisfied(
    project: Project,
    targets: Sequence[Target],
    chosen: Mapping[str, tuple[Chosen, ...]],
    existing: Existing,
) -> None:
    problems = {
        problem.message: problem
        for target in targets
        for problem in _unsatisfied(project, target, chosen[target.name], existing)
    }
    if problems:
        raise LockError.of(tuple(problems.values()))


def _unsatisfied(project: Project, target: Target, chosen: Sequence[Chosen], existing: Existing) -> Iterator[Problem]:
    """Requirements of pyproject.toml that the pins of an existing lock do not meet: it is stale."""
    pins = {one.name: one.version for one in chosen}
    environment = {**markers(target), "extra": ""}
    for line in project.dependencies:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        version = pins.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            has = f"has version {version}" if version else "does not have it"
            yield Problem(
                message=f"{existing.kind} is stale: pyproject.toml asks for {line}, the lock {has}",
                where=existing.kind,
                hint="make it again with the tool that made it, then `release lock`",
            )
