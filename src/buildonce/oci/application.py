"""The upper layers of an image, from the Tree: each heavy dependency, the other ones, the application; and
what it runs.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce.errors import ConfigurationError
from buildonce.oci.configuration import USER, Process
from buildonce.oci.layers import LayerPlan, entries_of, plan_tree
from buildonce.system import canonical, files, share
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from buildonce.config import Service, Settings
    from buildonce.model import Entry, Tree

__all__ = ["TINI", "Share", "extras", "plans", "process"]

TINI: Final = "usr/bin/tini"
_HEALTH: Final = "usr/lib/buildonce/health.py"
# Eight layers of their own keep an upgrade of one heavy dependency small; below a megabyte a layer costs more
# than it saves.
_MOST_HEAVY: Final = 8
_HEAVY: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What the Tree gives to an image. ``own`` is the project's distribution, ``root`` the folder that the
    Tree is in.
    """

    name: str
    prefix: PurePosixPath
    own: str
    tree: Tree
    root: Path


def plans(given: Share, extras: Sequence[Member]) -> tuple[LayerPlan, ...]:
    """The layers from the heaviest dependency to the application, which also holds *extras* and the
    environment's own files.
    """
    by_dist: dict[str, list[Entry]] = defaultdict(list)
    for entry in given.tree.entries:
        by_dist["" if entry.dist == given.own else entry.dist].append(entry)
    application = by_dist.pop("", [])
    weights = {dist: sum(entry.size for entry in entries) for dist, entries in by_dist.items()}
    heavy = sorted((d for d in weights if weights[d] >= _HEAVY), key=lambda dist: (-weights[dist], dist))[:_MOST_HEAVY]
    others = [entry for dist in sorted(by_dist.keys() - set(heavy)) for entry in by_dist[dist]]
    found = [plan_tree(dist, by_dist[dist], given.root) for dist in heavy]
    if others:
        found.append(plan_tree("dependencies", others, given.root))
    return (*found, _with(plan_tree("application", application, given.root), extras))


def _with(plan: LayerPlan, extras: Sequence[Member]) -> LayerPlan:
    listed = [[m.path, m.mode, m.owner, [e.sha256 for e in entries_of([m])]] for m in extras]

    def members(scratch: Path) -> Iterable[Member]:
        return [*plan.members(scratch), *extras]

    key = files.sha256_bytes(canonical.dump([plan.key, listed]))
    return replace(plan, key=key, members=members)


def extras(service: Service | None, name: str, sbom: Path) -> tuple[Member, ...]:
    """What the application's layer holds beside the application: SBOM, health check, folders that the service
    may write.
    """
    found: list[Member] = []
    if sbom.is_file():
        found.append(Member(path=f"usr/share/sbom/{name}.cdx.json", source=sbom.read_bytes()))
    if service is not None:
        folders = (_state(name), *service.writable)
        found += [Member(path=f"{place.strip('/')}/", mode=0o750, owner=USER) for place in dict.fromkeys(folders)]
        if service.port is not None:
            found.append(Member(path=_HEALTH, source=share.path("builders", "oci", "health.py").read_bytes()))
    return tuple(found)


def _state(name: str) -> str:
    return f"/var/lib/{name}"


def process(
    given: Share,
    *,
    settings: Settings,
    scripts: Sequence[str],
    interpreter: PurePosixPath,
    environment: Mapping[str, str],
    has_tini: bool,
    labels: Mapping[str, str],
) -> Process:
    """What the container runs. *environment* is the base image's; ours and then the service's win over it.

    Raises :class:`ConfigurationError` when the command is no script of the Tree, or when several could be
    meant.
    """
    service = settings.service
    command = _command(given, service.command if service else settings.command, scripts)
    health: tuple[str, ...] = ()
    if service is not None and service.port is not None:
        url = f"http://127.0.0.1:{service.port}{service.health}"
        health = (str(interpreter), "-I", "-S", f"/{_HEALTH}", url)
    return Process(
        # As process 1, plain Python would ignore SIGTERM until it is killed.
        entrypoint=(*((f"/{TINI}", "--") if has_tini else ()), *command),
        environment={
            **environment,
            "LANG": "C.UTF-8",
            "PATH": f"{given.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            **(service.environment if service else {}),
        },
        folder=_state(given.name) if service else "/",
        port=service.port if service else None,
        health=health,
        labels=labels,
    )


def _command(given: Share, configured: str, scripts: Sequence[str]) -> tuple[str, ...]:
    folder = f"{given.prefix}/bin"
    if not configured:
        return (f"{folder}/{_only(given.name, scripts)}",)
    program, *arguments = shlex.split(configured)
    if not any(entry.path == f"{folder}/{program}".lstrip("/") for entry in given.tree.entries):
        raise ConfigurationError(
            f"the command {program!r} is no script of the application or its dependencies",
            where="[tool.release.service] command",
            hint=f"its own scripts are: {', '.join(scripts) or 'none'}",
        )
    return (f"{folder}/{program}", *arguments)


def _only(name: str, scripts: Sequence[str]) -> str:
    """The script that is meant when nothing says so: the only one, the one named like the project, or else
    the interpreter.
    """
    if len(scripts) > 1 and name not in scripts:
        raise ConfigurationError(
            f"the image could run any of {', '.join(scripts)}",
            where="[tool.release] command",
            hint=f'write `command = "{scripts[0]}"` under [tool.release]',
        )
    if not scripts:
        return "python"
    return name if name in scripts else scripts[0]
