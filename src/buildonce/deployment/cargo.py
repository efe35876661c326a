"""What the recipe is given, a folder: the host program, the plan, the keyring and one archive with all that hosts need.

The format of the plan, and what hosts do with it, is described in ``docs/reference/recipes/ansible.md``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, Final, cast

from buildonce import hostprogram, manifest, units
from buildonce.debs import deb
from buildonce.signing import sums
from buildonce.system import files
from buildonce.system.archive import Member, write_tar
from buildonce.units import Facts

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.deployment.orders import Order, Piece
    from buildonce.destinations import AptDestination
    from buildonce.service import Service

__all__ = ["KEYRING", "PARCEL", "PLAN", "load", "plan"]

PLAN, KEYRING, PARCEL = "plan.json", "keys.gpg", "parcel.tar"

_LEASE: Final = 300  # seconds that a host's lock outlives its guard: longer than any step


def load(order: Order, into: Path) -> None:
    """Write everything into the folder *into*, which is there."""
    hostprogram.write(into / hostprogram.FILE)
    files.write_atomically(into / PLAN, json.dumps(plan(order), indent=2).encode(), mode=0o600)
    files.write_atomically(into / KEYRING, order.keyring)
    if order.folder:
        names = (sums.FILE, f"{sums.FILE}.asc", manifest.FILE, *(piece.file for piece in order.pieces))
        members = {name: Member(path=name, source=order.folder / name) for name in names}
        for path in (path for paths in order.packages.values() for path in paths):
            members[_file(path)] = Member(path=_file(path), source=path)
        with (into / PARCEL).open("wb") as out:
            write_tar(cast("IO[bytes]", out), [members[name] for name in sorted(members)])


def plan(order: Order) -> dict[str, Any]:
    """The plan, as hosts read it."""
    settings, service = order.settings, cast("Service", order.project.settings.service)
    return {
        "schema": 1,
        "deployment": order.deployment,
        "who": order.who,
        "name": order.project.name,
        "mode": order.wish.mode,
        "format": settings.format,
        "source": settings.source,
        "version": order.version,
        "artifacts": {piece.target: _artifact(piece, order) for piece in order.pieces},
        "apt": _repository(order) if settings.source == "apt" else None,
        "service": {
            "user": service.user or order.project.name,
            "port": service.port,
            "health": service.health,
            "migrate": service.migrate,
            "command": service.command,
            "environment": dict(service.environment),
            "writable": list(service.writable),
        },
        "engine": settings.engine if settings.format == "oci" else "",
        "check": {
            "timeout": settings.timeout,
            "successes": settings.successes,
            "interval": 1,
            "settle": settings.settle,
        },
        "guard": settings.guard,
        "lease": settings.guard + _LEASE,
        "keep": settings.keep,
        "floor": service.rollback_floor,
        "downgrade": order.wish.downgrade,
    }


def _artifact(piece: Piece, order: Order) -> dict[str, Any]:
    settings, service = order.settings, cast("Service", order.project.settings.service)
    facts = asdict(piece)
    del facts["target"]
    written = units.files(service, Facts.of(order.project, image=piece.image), settings.format, settings.engine)
    packages = {_file(path): files.sha256_file(path) for path in order.packages.get(piece.codename, ())}
    return {**facts, "units": dict(written), "packages": packages}


def _file(path: Path) -> str:
    """The name that the package in *path* has in a repository: the store has it by its sha256."""
    package = deb.read(path)
    return f"{package.name}_{package.version.partition(':')[2] or package.version}_{package.architecture}.deb"


def _repository(order: Order) -> dict[str, str]:
    found = cast("AptDestination", order.project.settings.publish[order.settings.publish])
    place = found.url or (order.project.root / found.path).expanduser().resolve().as_uri()
    return {"uri": place, "suite": found.suite, "component": found.component}
