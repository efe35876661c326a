"""Makes resolver output into a lock: only what the targets can use, in one order, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

from buildonce import target as targets_
from buildonce.lock.trust import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.tags import Tag

    from buildonce.model import Target

__all__ = ["tidy"]

# Patch versions at which a marker is tried: pins stay right where a distribution updates its Python.
_PATCHES: Final = range(40)


def tidy(
    packages: Iterable[Mapping[str, Any]], targets: Sequence[Target], *, prune: bool = True
) -> list[dict[str, Any]]:
    """*packages* of a parsed pylock, without credentials, sorted by name and version.

    With *prune*, packages and wheels that no target can use are dropped, and markers that are true on every
    target; the sdist always stays. Markers are judged for every patch version of each target's Python.
    """
    tags = {target.name: frozenset(targets_.tags(target)) for target in targets}
    kept = [_package(package, targets, tags, prune=prune) for package in packages]
    return sorted(
        (package for package in kept if package),
        key=lambda p: (p["name"], p.get("version", ""), p.get("marker", "")),
    )


def _package(
    package: Mapping[str, Any], targets: Sequence[Target], tags: Mapping[str, frozenset[Tag]], *, prune: bool
) -> dict[str, Any]:
    made = dict(package)
    if "index" in made:
        made["index"] = without_credentials(made["index"])
    for key in ("sdist", "archive"):
        if key in made:
            made[key] = _file(made[key])
    if "wheels" in made:
        made["wheels"] = sorted((_file(wheel) for wheel in made["wheels"]), key=_name)
    return _pruned(made, targets, tags) if prune else made


def _pruned(made: dict[str, Any], targets: Sequence[Target], tags: Mapping[str, frozenset[Tag]]) -> dict[str, Any]:
    users = list(targets)
    if "marker" in made:
        answers = {target.name: _answers(made["marker"], target) for target in targets}
        users = [target for target in targets if True in answers[target.name]]
        if all(answer == {True} for answer in answers.values()):
            del made["marker"]
    if not users:
        return {}
    if "wheels" in made:
        fitting = frozenset().union(*(tags[target.name] for target in users))
        wheels = [wheel for wheel in made["wheels"] if _tags(_name(wheel)) & fitting]
        # With nothing left the entry would be invalid; it stays whole, and selection says that nothing fits.
        if wheels or "sdist" in made:
            made["wheels"] = wheels
        if not made["wheels"]:
            del made["wheels"]
    return made


def _answers(marker: str, target: Target) -> set[bool]:
    """What *marker* says on *target*, and would say on any other patch version of its Python.

    A marker on extras or groups has no one answer: it is given both.
    """
    if "extras" in marker or "dependency_groups" in marker:
        return {True, False}
    parsed: Marker = Marker(marker)
    environment = targets_.markers(target)
    versions = {target.python, *(f"{target.python_minor}.{patch}" for patch in _PATCHES)}
    return {
        parsed.evaluate(
            {**environment, "python_full_version": version, "implementation_version": version},
            context="lock_file",
        )
        for version in versions
    }


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(file)
    if "url" in made:
        made["url"] = without_credentials(made["url"])
    return made


def _name(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or str(file.get("url") or file.get("path")).split("#")[0].rsplit("/", 1)[-1])


def _tags(filename: str) -> frozenset[Tag]:
    return parse_wheel_filename(unquote(filename))[-1]
