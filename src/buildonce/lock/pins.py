"""Reads locks that hold hashes but no addresses: hashed requirements.txt, poetry.lock, pdm.lock.

Formats: pip's "Requirements File Format", poetry's lock-version 2.1, pdm's lock_version 4.5.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from packaging.utils import canonicalize_name

from buildonce.errors import LockError, Problem
from buildonce.lock import requirements, trust
from buildonce.lock.toml import parse
from buildonce.model import Digest
from buildonce.system.files import sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buildonce.lock.foreign import Existing

__all__ = ["Pin", "read"]

_SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})\Z")
_POETRY: Final = (2, 1)  # the first lock-version that says which group and marker a package is needed for


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """One package of an existing lock. ``index`` is where it must come from, ``""`` for any index."""

    name: str  # normalised
    version: str
    marker: str
    hashes: frozenset[Digest]
    index: str = ""

    @property
    def requirement(self) -> str:
        """The pin as PEP 508."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")


def read(existing: Existing) -> tuple[Pin, ...]:
    """The pins of *existing* that an installed application needs: no development groups, no extras.

    Raises :class:`LockError` listing every entry that is not one version with a sha256.
    """
    readers = {"requirements.txt": _requirements, "poetry.lock": _poetry, "pdm.lock": _pdm}
    problems: list[Problem] = []
    found = tuple(readers[existing.kind](existing, problems))
    if problems:
        raise LockError.of(tuple(problems))
    return found


def _requirements(existing: Existing, problems: list[Problem]) -> Iterator[Pin]:
    for line in requirements.read(existing.path, problems):
        yield Pin(
            name=line.name,
            version=line.version,
            marker=line.marker,
            hashes=_hashes(line.hashes, f"{line.name} {line.version}", existing, problems),
        )


def _poetry(existing: Existing, problems: list[Problem]) -> Iterator[Pin]:
    data = parse(existing.path.read_bytes(), existing.kind)
    _require_fresh_poetry(existing, data)
    for package in data.get("package", ()):
        source = package.get("source", {})
        if "main" not in package["groups"] or package.get("optional"):
            continue
        if source.get("type", "legacy") != "legacy":  # poetry's word for an index with the simple API
            problems.append(_not_a_file(package, source["type"], existing))
            continue
        marker = package.get("markers", "")
        yield Pin(
            name=canonicalize_name(package["name"]),
            version=package["version"],
            marker=marker.get("main", "") if isinstance(marker, dict) else marker,
            hashes=_hashes_of(package, existing, problems),
            index=trust.without_credentials(source.get("url", "")),
        )


def _require_fresh_poetry(existing: Existing, data: Mapping[str, Any]) -> None:
    metadata = data["metadata"]
    if tuple(int(part) for part in metadata["lock-version"].split(".")) < _POETRY:
        raise LockError(
            "poetry.lock does not say which package is needed where: it was made by a poetry before 2.0",
            where=existing.kind,
            hint="run `poetry lock` with poetry 2, or `poetry export -o requirements.txt`",
        )
    project = existing.path.with_name("pyproject.toml")
    document = parse(project.read_bytes(), project.name)
    if metadata["content-hash"] not in {
        _poetry_hash(document, groups=True),
        _poetry_hash(document, groups=False),
    }:
        raise LockError(
            "poetry.lock does not fit pyproject.toml any more",
            where=existing.kind,
            hint="run `poetry lock`, then `release lock`, and commit both",
        )


def _poetry_hash(document: Mapping[str, Any], *, groups: bool) -> str:
    """poetry's ``content-hash`` (poetry/packages/locker.py); before 2.3 without dependency groups."""
    project = {
        key: document["project"][key]
        for key in ("requires-python", "dependencies", "optional-dependencies")
        if key in document.get("project", {})
    }
    own = document.get("dependency-groups", {}) if groups else {}
    poetry = document.get("tool", {}).get("poetry", {})
    always = () if project or own else ("dependencies", "source", "extras", "dev-dependencies")
    kept = {
        key: poetry.get(key)
        for key in ("dependencies", "source", "extras", "dev-dependencies", "group")
        if key in always or poetry.get(key) is not None
    }
    relevant: dict[str, Any] = {"project": project} if project else {}
    relevant |= {"dependency-groups": own} if own else {}
    relevant = {**relevant, "tool": {"poetry": kept}} if relevant else kept
    return sha256_bytes(json.dumps(relevant, sort_keys=True).encode())


def _pdm(existing: Existing, problems: list[Problem]) -> Iterator[Pin]:
    data = parse(existing.path.read_bytes(), existing.kind)
    if "inherit_metadata" not in data.get("metadata", {}).get("strategy", ()):
        raise LockError(
            "pdm.lock does not say which package is needed where: it has no strategy inherit_metadata",
            where=existing.kind,
            hint="run `pdm lock --strategy inherit_metadata`, or `pdm export -f pylock -o pylock.toml`",
        )
    for package in data.get("package", ()):
        if "default" not in package["groups"] or package.get("extras"):
            continue
        if kinds := [key for key in ("git", "path", "url") if package.get(key)]:
            problems.append(_not_a_file(package, kinds[0], existing))
            continue
        yield Pin(
            name=canonicalize_name(package["name"]),
            version=package["version"],
            marker=package.get("marker", ""),
            hashes=_hashes_of(package, existing, problems),
        )


def _not_a_file(package: Mapping[str, Any], kind: str, existing: Existing) -> Problem:
    return Problem(
        message=f"{package['name']} {package['version']} comes from {kind}: {trust.ONLY_FILES}",
        where=existing.kind,
        hint=f"publish {package['name']} to an index and depend on that version",
    )


def _hashes_of(package: Mapping[str, Any], existing: Existing, problems: list[Problem]) -> frozenset[Digest]:
    hashes = [file["hash"] for file in package["files"]]
    return _hashes(hashes, f"{package['name']} {package['version']}", existing, problems)


def _hashes(values: Sequence[str], named: str, existing: Existing, problems: list[Problem]) -> frozenset[Digest]:
    found = frozenset(Digest(match[1]) for value in values if (match := _SHA256.match(value)))
    if not found:
        kinds = sorted({value.partition(":")[0] for value in values} - {"sha256"})
        has = "a malformed sha256" if len(kinds) < len(values) else f"only {', '.join(kinds)}"
        problems.append(
            Problem(
                message=f"{named} has {has if values else 'no hash'}; a sha256 is required",
                where=existing.kind,
                hint=f"make {existing.kind} again with sha256 hashes",
            )
        )
    return found
