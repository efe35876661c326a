"""What is to be brought where: an order of a user, checked against the project and the release before any host hears of
it.
"""

from __future__ import annotations

import difflib
import getpass
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from buildonce import bundling, dependencies, vault, verification
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import target as targets
from buildonce import version as versions
from buildonce.deployment import built, keyrings
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.oci import reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from buildonce.environments import Environment
    from buildonce.manifest import Manifest
    from buildonce.model import Artifact, Target
    from buildonce.project import Project
    from buildonce.publishers import Means
    from buildonce.system import System

__all__ = ["Order", "Piece", "Wish", "identity", "make"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the command line says."""

    environment: str
    what: str = ""  # a version, or the folder of a release; "": the newest release, or the version before
    mode: Literal["deploy", "rollback"] = "deploy"
    downgrade: str = ""  # the reason why an older version may take the place of a newer one
    break_lock: bool = False  # of another deployment that is known to be gone
    keys: tuple[Path, ...] = ()  # public keys to trust; without any those of this user


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """What hosts of one target install."""

    target: str
    distribution: str
    release: str
    codename: str
    architecture: str
    interpreter: str
    file: str = ""  # "" when an apt repository has it
    sha256: str = ""
    size: int = 0
    package: str = ""  # the Debian version
    image: str = ""  # sha256:… of the image's configuration

    @classmethod
    def on(cls, target: Target, **more: Any) -> Piece:
        """What hosts of *target* install, with *more* fields."""
        return cls(
            target=target.name,
            distribution=target.distribution,
            release=target.release,
            codename=target.codename,
            architecture=target.architecture,
            interpreter=str(target.interpreter),
            **more,
        )

    @classmethod
    def of(cls, said: Manifest, folder: Path, artifact: Artifact) -> Piece:
        """An *artifact* of the release *said*, which is in *folder*."""
        target = said.built(artifact.target).target
        return cls.on(
            target,
            file=artifact.file,
            sha256=artifact.sha256,
            size=artifact.size,
            package=said.version.deb(target) if artifact.kind == "deb" else "",
            image=reading.image_id(folder / artifact.file) if artifact.kind == "oci" else "",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An order that can be carried out."""

    deployment: str
    who: str
    project: Project
    environment: str
    settings: Environment
    wish: Wish
    version: str  # PEP 440; "" for a roll back to what each host had before
    folder: Path | None  # the release; None when hosts have it already, or get it from an apt repository
    pieces: tuple[Piece, ...]
    keyring: bytes  # OpenPGP certificates that hosts check signatures with
    packages: Mapping[str, tuple[Path, ...]]  # codename → what the debs need of that distribution, out of the lock


def make(root: Path, wish: Wish, means: Means, home: Path) -> Order:
    """The order that *wish* is, for the project in *root*; the user's keys are in *home*.

    Raises :class:`ConfigurationError` for an environment that nobody configured, or a project that is no service,
    and :class:`buildonce.errors.VerificationError` for a release that is not whole and signed by a trusted key.
    """
    project = projects.read(root)
    settings = _environment(project, wish.environment)
    if project.settings.service is None or project.settings.service.port is None:
        raise ConfigurationError(
            "what has no port and no health check cannot be deployed: nobody could tell whether it works",
            where="pyproject.toml: tool.release.service",
            hint='add [tool.release.service] with command = "…", port = 8000 and health = "/health"',
        )
    version, folder, pieces, packages = _wanted(project, settings, wish, means)
    return Order(
        **identity(),
        project=project,
        environment=wish.environment,
        settings=settings,
        wish=wish,
        version=version,
        folder=folder,
        pieces=pieces,
        keyring=keyrings.read(wish.keys, home),
        packages=packages,
    )


def identity() -> dict[str, str]:
    """A new name for a deployment, and who is at it."""
    return {
        "deployment": f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}",
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
    }


def _environment(project: Project, name: str) -> Environment:
    known = project.settings.environments
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        listed = f"configured: {', '.join(sorted(known))}" if known else "add [tool.release.environments.NAME]"
        raise ConfigurationError(
            f"no environment is called {name!r}",
            where="[tool.release.environments]",
            hint=f"did you mean {near[0]!r}?" if near else listed,
        )
    found = known[name]
    if found.source == "apt" and getattr(project.settings.publish.get(found.publish), "type", "") != "apt":
        raise ConfigurationError(
            f"no apt repository is called {found.publish!r}",
            where=f"[tool.release.environments.{name}].publish",
            hint='name a destination in [tool.release.publish] whose type is "apt"',
        )
    if not (project.root / found.inventory).exists():
        raise ConfigurationError(
            "the inventory is not there",
            where=str(project.root / found.inventory),
            hint="write the hosts into it, a line each, below [app]",
        )
    return found


def _wanted(
    project: Project, settings: Environment, wish: Wish, means: Means
) -> tuple[str, Path | None, tuple[Piece, ...], Mapping[str, tuple[Path, ...]]]:
    if wish.mode == "rollback":
        return _spelled(wish.what), None, (), {}
    if settings.source == "apt":
        if not wish.what:
            raise ReleaseError(
                "which version?", hint=f"release deploy {wish.environment} VERSION: one that is in the repository"
            )
        return _spelled(wish.what), None, tuple(_published(project, wish.what)), {}
    folder = built.find(project, wish.what)
    said = verification.verify(folder, means.trusted, means.system).manifest
    if said.name != project.name:
        raise ConfigurationError(
            f"this is a release of {said.name}, not of {project.name}", where=str(folder), hint="run it in its project"
        )
    packages = _packages(project, said, folder, means.system) if settings.format == "deb" else {}
    return said.version.pep440, folder, _pieces(said, folder, settings), packages


def _packages(project: Project, said: Manifest, folder: Path, system: System) -> Mapping[str, tuple[Path, ...]]:
    """What the debs need of their distribution, for hosts that reach no mirror; nothing when the lock is another."""
    try:
        lock = locks.read(project)
        bundling.require_lock_of(said, lock)
        system = replace(system, vaults=vault.configured(project, system.net))
        return dependencies.of(said, folder, project, lock, system)
    except ReleaseError as error:
        system.progress.note(f"{error.problems[0].message}: hosts have to have the OS packages, or reach a mirror")
        return {}


def _spelled(version: str) -> str:
    return versions.spell(version).pep440 if version else ""


def _pieces(said: Manifest, folder: Path, settings: Environment) -> tuple[Piece, ...]:
    found = [Piece.of(said, folder, one) for one in said.artifacts if one.kind == settings.format]
    if not found:
        raise ReleaseError(
            f"the release has no {settings.format}",
            where=str(folder),
            hint="build it with that format, or change `format` of the environment",
        )
    return tuple(found)


def _published(project: Project, version: str) -> Sequence[Piece]:
    spelled = versions.spell(version)
    return [Piece.on(one, package=spelled.deb(one)) for one in targets.of(project.settings)]
