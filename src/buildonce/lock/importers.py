"""Finds the files of an existing lock that has hashes but no addresses.

The user's hashes are the trust anchor. Indexes are asked only where files are; a file counts when its sha256
is one that the user's lock names. (uv, given hashed requirements to compile, puts others in their place.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.version import Version

from buildonce.errors import LockError, Problem
from buildonce.lock import pins, requirements, uv
from buildonce.lock import settings as uv_settings
from buildonce.lock.toml import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buildonce.lock.foreign import Existing
    from buildonce.lock.pins import Pin
    from buildonce.model import Digest, Target
    from buildonce.project import Project
    from buildonce.system import System

__all__ = ["packages"]


def packages(existing: Existing, project: Project, targets: Sequence[Target], system: System) -> list[dict[str, Any]]:
    """PEP 751 tables for the pins of *existing*, with the files on the user's indexes whose sha256 it names.

    Raises :class:`LockError` listing every pin that no such file exists for.
    """
    wanted = pins.read(existing)
    listed = uv.compile(_request(wanted, existing, project, targets), system.host).get("packages", ())
    kept = [(package, _kept(package, _hashes(wanted, package))) for package in listed]
    problems = tuple(_not_found(package, existing) for package, files in kept if files is None)
    if problems:
        raise LockError.of(problems)
    return [files for _, files in kept if files is not None]


def _not_found(package: Mapping[str, Any], existing: Existing) -> Problem:
    return Problem(
        message=f"{package['name']} {package['version']}: no file on the index has a sha256 that {existing.kind} names",
        where=existing.kind,
        hint="the files were changed, or the hashes are of another index: find out which it is",
    )


def _request(wanted: Sequence[Pin], existing: Existing, project: Project, targets: Sequence[Target]) -> uv.Request:
    """Told that no version requires anything, uv only lists files: nothing is chosen, downloaded or run."""
    settings = uv_settings.of_indexes(uv_settings.read(project.root))
    own = {url: f"locked-{number}" for number, url in enumerate(sorted({pin.index for pin in wanted} - {""}))}
    return uv.Request(
        name=existing.kind,
        requirements=tuple(pin.requirement for pin in wanted),
        targets=tuple(targets),
        settings={
            **settings,
            "index": [*settings.get("index", ()), *_indexes(existing), *_explicit(own)],
            "sources": {pin.name: {"index": own[pin.index]} for pin in wanted if pin.index},
            "dependency-metadata": [
                {"name": name, "version": version, "requires-dist": []}
                for name, version in sorted({(pin.name, pin.version) for pin in wanted})
            ],
        },
    )


def _indexes(existing: Existing) -> Iterator[dict[str, Any]]:
    """The indexes that the tool which made the lock was told to use."""
    if existing.kind == "requirements.txt":
        default, extra = requirements.indexes(existing.path)
        yield from ({"url": url} for url in extra)
        if default:
            yield {"url": default, "default": True}
    if existing.kind == "pdm.lock":
        document = parse(existing.path.with_name("pyproject.toml").read_bytes(), "pyproject.toml")
        for source in document.get("tool", {}).get("pdm", {}).get("source", ()):
            if source.get("type", "index") == "index":
                yield {"url": source["url"], "default": source.get("name") == "pypi"}


def _explicit(names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Indexes that serve only the packages which the lock takes from them."""
    yield from ({"name": name, "url": url, "explicit": True} for url, name in names.items())


def _hashes(wanted: Sequence[Pin], package: Mapping[str, Any]) -> frozenset[Digest]:
    name, version = package["name"], Version(package["version"])
    return frozenset().union(*(pin.hashes for pin in wanted if pin.name == name and Version(pin.version) == version))


def _kept(package: Mapping[str, Any], hashes: frozenset[Digest]) -> dict[str, Any] | None:
    def trusted(file: Mapping[str, Any]) -> bool:
        return file.get("hashes", {}).get("sha256") in hashes

    made = {key: value for key, value in package.items() if key not in ("sdist", "wheels")}
    if wheels := [wheel for wheel in package.get("wheels", ()) if trusted(wheel)]:
        made["wheels"] = wheels
    if "sdist" in package and trusted(package["sdist"]):
        made["sdist"] = package["sdist"]
    return made if "wheels" in made or "sdist" in made else None
