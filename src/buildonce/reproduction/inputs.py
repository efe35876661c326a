"""Whether a rebuild is made from the same things. When not, nothing about its bytes means anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from buildonce import project as projects
from buildonce import provenance, seal, statement
from buildonce.errors import ConfigurationError, InputsDifferError, Problem
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from buildonce.manifest import Manifest

__all__ = ["require_locks", "require_same", "require_targets", "require_tools"]

_MOST: Final = 20  # how many inputs are listed


def require_tools(said: Manifest, where: str) -> None:
    """Raise :class:`InputsDifferError` unless the tools on this side are those that the release was made with."""
    other = {
        name: (said.tools.get(name, "none"), version)
        for name, version in seal.tools().items()
        if said.tools.get(name) != version
    }
    if not other:
        return
    if "buildonce" in other:
        wanted = f"buildonce=={other['buildonce'][0]}"
        line = f"release reproduce {where}"
        hint = f"run the version that made it: uvx --from {wanted} {line}\nor: pipx run --spec {wanted} {line}"
    else:
        hint = "pip install " + " ".join(f"{name}=={wanted}" for name, (wanted, _) in other.items())
    first, *rest = (
        f"the release was made with {name} {wanted}, here is {found}" for name, (wanted, found) in other.items()
    )
    raise InputsDifferError(first, where=where, hint=hint, more=tuple(Problem(message=one) for one in rest))


def require_targets(said: Manifest, project: Path) -> None:
    """Raise :class:`ConfigurationError` unless the project in the folder *project* has every target of the release."""
    known = projects.read(project).settings.targets
    for built in said.targets:
        if built.target.name not in known:
            raise ConfigurationError(
                f"the release is for the target {built.target.name!r}, which its own commit does not have",
                where="[tool.release] targets",
                hint=f"the commit has {', '.join(known)}; ask who published the release how it was built",
            )


def require_locks(said: Manifest, project: Path) -> None:
    """Raise :class:`InputsDifferError` unless the locks in the folder *project* of the commit are the recorded ones."""
    problems = [
        Problem(message=message, where=name, hint="" if found else "commit the lock, build again, and reproduce that")
        for name, expected in sorted(said.locks.items())
        for found, message in [_lock(project / name, name, expected)]
        if message
    ]
    if problems:
        raise InputsDifferError.of(tuple(problems))


def _lock(path: Path, name: str, expected: str) -> tuple[str, str]:
    """The digest of the lock in the commit, and what is wrong with it."""
    if not path.is_file():
        return "", f"{name} is not in the commit: the release was built with one that nobody has"
    found = files.sha256_file(path)
    wrong = f"the lock was edited: the release was built with {name} of sha256 {expected}, the commit has {found}"
    return found, "" if found == expected else wrong


def require_same(expected: bytes, rebuilt: Path) -> None:
    """Raise :class:`InputsDifferError` unless the provenance *expected* and that in *rebuilt* have one recipe id."""
    found = (rebuilt / provenance.FILE).read_bytes()
    if provenance.recipe(expected) == provenance.recipe(found):
        return
    before, after = _definition(expected), _definition(found)
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    problems = [
        Problem(message=f"{name}: the release has {before.get(name, 'none')}, here is {after.get(name, 'none')}")
        for name in names[:_MOST]
    ]
    if len(names) > _MOST:
        problems.append(Problem(message=f"{len(names) - _MOST} more inputs differ"))
    headline = Problem(
        message=f"this is made from something else: {len(names)} inputs differ",
        where=provenance.FILE,
        hint="bytes are compared only when the recipes are the same",
    )
    raise InputsDifferError.of((headline, *problems))


def _definition(data: bytes) -> dict[str, str]:
    """Every input by its name, in words."""
    said = statement.read(data, where=provenance.FILE, predicate_type=statement.PROVENANCE)
    definition = dict(said.predicate.fields("buildDefinition").value)
    dependencies: Any = definition.pop("resolvedDependencies")
    found = dict(_flat("", definition))
    for one in dependencies:
        # The source by its name, because its address may end in the commit; a lock has no address.
        name = one["name"] if one["name"] == "source" else one.get("uri", one["name"])
        found[str(name)] = _text(one["digest"])
    return found


def _flat(path: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        place = f"{path}.{key}" if path else key
        if isinstance(inner, dict):
            yield from _flat(place, inner)
        else:
            yield place, _text(inner)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
