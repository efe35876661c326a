"""Several locked sets in one PEP 751 document: a dependency group each, told apart by markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buildonce.lock import python

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import Target

__all__ = ["Packages", "document"]

Packages = list[dict[str, Any]]  # the tables [[packages]] of PEP 751


def document(groups: Mapping[str, Packages], targets: Sequence[Target]) -> dict[str, Any]:
    """One document of all *groups*; what several share stands there once, with a marker naming them."""
    markers: dict[tuple[str, str], dict[str, list[str]]] = {}  # package → its own marker → groups
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for group, packages in sorted(groups.items()):
        for package in packages:
            key = (package["name"], package["version"])
            markers.setdefault(key, {}).setdefault(package.get("marker", ""), []).append(group)
            tables[key] = _joined(tables.get(key, {}), package)
    return {
        **python.header(targets),
        "dependency-groups": sorted(groups),
        "default-groups": [],
        "packages": [_marked(tables[key], _marker(markers[key])) for key in sorted(tables)],
    }


def _marked(table: Mapping[str, Any], marker: str) -> dict[str, Any]:
    return {"name": table["name"], "version": table["version"], "marker": marker, **table}


def _joined(before: Mapping[str, Any], package: Mapping[str, Any]) -> dict[str, Any]:
    """One package from two groups, which may have kept other wheels of it where their markers differ."""
    wheels = {wheel["url"]: wheel for wheel in (*before.get("wheels", ()), *package["wheels"])}
    plain = {key: value for key, value in package.items() if key != "marker"}
    return {**plain, "wheels": [wheels[url] for url in sorted(wheels)]}


def _marker(groups_by_marker: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for marker, groups in sorted(groups_by_marker.items()):
        named = " or ".join(f"'{group}' in dependency_groups" for group in sorted(groups))
        parts.append(f"({named}) and ({marker})" if marker else named)
    return " or ".join(parts)
