"""``[tool.uv]`` of the project: the part of it that a lock depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import LockError, Problem
from buildonce.lock import indexes, trust
from buildonce.lock.toml import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["of_builds", "of_indexes", "read"]

# What of [tool.uv] says where packages come from. No find-links: they are of one machine.
_INDEXES: Final = (
    "allow-insecure-host",
    "extra-index-url",
    "index",
    "index-strategy",
    "index-url",
    "keyring-provider",
    "no-index",
)
_AGE: Final = ("exclude-newer", "exclude-newer-package")
# What of it decides which versions are chosen.
_CHOICES: Final = (
    *_AGE,
    "build-constraint-dependencies",
    "config-settings",
    "constraint-dependencies",
    "dependency-metadata",
    "exclude-dependencies",
    "extra-build-dependencies",
    "fork-strategy",
    "no-binary",
    "no-binary-package",
    "no-build",
    "no-build-package",
    "no-sources",
    "override-dependencies",
    "prerelease",
    "resolution",
    "sources",
)


def read(root: Path) -> dict[str, Any]:
    """``[tool.uv]`` of the project, or its uv.toml, which has precedence: the part that a lock depends on.

    Raises :class:`LockError` when it takes a dependency from a folder or a repository, listing all of them.
    """
    own = root / "uv.toml"
    path = own if own.is_file() else root / "pyproject.toml"
    document = parse(path.read_bytes(), path.name)
    table = document if path == own else document.get("tool", {}).get("uv", {})
    kept = {key: table[key] for key in (*_INDEXES, *_CHOICES) if key in table}
    if "index" in kept:
        kept["index"] = [index for index in kept["index"] if indexes.portable(index.get("url", ""))]
    problems = tuple(_unlockable(kept.get("sources", {}), path.name))
    if problems:
        raise LockError.of(problems)
    return kept


def of_indexes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of *settings* that says where packages come from, and nothing of which."""
    return {key: value for key, value in settings.items() if key in _INDEXES}


def of_builds(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part that holds for build requirements: indexes, age, and the constraints made for them."""
    kept = {key: value for key, value in settings.items() if key in (*_INDEXES, *_AGE)}
    if constraints := settings.get("build-constraint-dependencies"):
        kept["constraint-dependencies"] = constraints
    return kept


def _unlockable(sources: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for name, source in sorted(sources.items()):
        for entry in source if isinstance(source, list) else [source]:
            for key in ("path", "git", "workspace"):
                if entry.get(key):
                    yield Problem(
                        message=f"{name} comes from {key} = {entry[key]!r}: {trust.ONLY_FILES}",
                        where=f"{where}: tool.uv.sources.{name}",
                        hint=f"publish {name} to an index and name the index here",
                    )
