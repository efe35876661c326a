"""What the application needs beside itself, in containers of Debian packages; what they keep outlives versions."""

from __future__ import annotations

import secrets
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from buildonce.errors import BuildError, ReleaseError
from buildonce.local import hosts
from buildonce.system import images, share
from buildonce.system.services import Service, Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.model import Target
    from buildonce.needs import Need
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.system.services import Found, Services

__all__ = ["start"]

_PASSWORD: Final = "password"  # noqa: S105 - the name of a fact
_CLUSTER: Final = "/var/lib/postgresql"
_POSTGRESQL_PORT: Final = 5432
_OFTEN: Final = 0.2  # seconds


def start(project: Project, target: Target, place: Services, system: System) -> Mapping[str, Mapping[str, str]]:
    """Start every need of *project* that does not run; answers what the application may be told of each."""
    settings = project.settings.up
    # All images first: making one takes longest, and nothing runs yet when it fails.
    bases = {name: hosts.image(target, _packages(need), system) for name, need in settings.needs.items()}
    found = {}
    for name, need in settings.needs.items():
        system.progress.step(f"start {name}")
        kind = _Postgresql(project.name) if need.type == "postgresql" else _Command(need)
        found[name] = {"host": name, **_start(kind, name, bases[name], place, settings.timeout)}
    return found


def _packages(need: Need) -> tuple[str, ...]:
    return need.packages or (("postgresql",) if need.type == "postgresql" else ())


def _start(kind: _Kind, name: str, base: str, place: Services, timeout: float) -> Mapping[str, str]:
    there = place.find(name)
    facts = there.facts if there else kind.facts()
    if there and there.image != images.identity(base):
        place.remove(there)
        there = None
    if there and not there.running:
        there = place.resume(there)
    there = there or place.start(kind.service(name, base, facts))
    end = time.monotonic() + timeout
    while not kind.ready(place, there):
        now = place.state(there.id)
        if now is None or not now.running or time.monotonic() > end:
            why = f"was not ready within {timeout:g} s" if now and now.running else "ended by itself"
            raise ReleaseError(f"{name} {why}", where=f"tool.release.up.needs.{name}", log=place.told(there))
        time.sleep(_OFTEN)
    return kind.prepare(place, there, facts)


class _Kind(Protocol):
    """How one type of need is run."""

    def facts(self) -> Mapping[str, str]:
        """What a new one keeps with its container."""
        ...

    def service(self, name: str, base: str, facts: Mapping[str, str]) -> Service:
        """Its container, of the image *base*."""
        ...

    def ready(self, place: Services, found: Found) -> bool:
        """Whether it can be used."""
        ...

    def prepare(self, place: Services, found: Found, facts: Mapping[str, str]) -> Mapping[str, str]:
        """Make what the application finds in it; answers what it is told, beside the host."""
        ...


@dataclass(frozen=True, slots=True)
class _Command:
    need: Need

    def facts(self) -> Mapping[str, str]:
        return {}

    def service(self, name: str, base: str, facts: Mapping[str, str]) -> Service:
        return Service(
            role=name,
            image=base,
            aliases=(name,),
            command=tuple(shlex.split(self.need.command)),
            user=self.need.user,
            volumes=tuple(
                Volume(role=f"{name}-{number}", place=folder) for number, folder in enumerate(self.need.data)
            ),
            init=True,
            facts=facts,
        )

    def ready(self, place: Services, found: Found) -> bool:
        return not place.execute(found, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{self.need.port}").code

    def prepare(self, place: Services, found: Found, facts: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        return {"port": str(self.need.port)}


@dataclass(frozen=True, slots=True)
class _Postgresql:
    """With a database and a user that are called as the release."""

    name: str

    def facts(self) -> Mapping[str, str]:
        return {_PASSWORD: secrets.token_urlsafe()}

    def service(self, name: str, base: str, facts: Mapping[str, str]) -> Service:
        script = share.path("recipes", "local", "postgresql.sh").read_text("utf-8")
        return Service(
            role=name,
            image=base,
            aliases=(name,),
            command=("sh", "-euc", script),
            volumes=(Volume(role=f"{name}-data", place=_CLUSTER),),
            init=True,
            facts=facts,
        )

    def ready(self, place: Services, found: Found) -> bool:
        return not place.execute(found, "pg_isready", "-q").code

    def prepare(self, place: Services, found: Found, facts: Mapping[str, str]) -> Mapping[str, str]:
        password = facts[_PASSWORD]
        # The name is a release's (small letters, digits and hyphens), the password of token_urlsafe.
        if self.name not in self._sql(place, found, "SELECT rolname FROM pg_roles").split():
            self._sql(place, found, f'CREATE ROLE "{self.name}" LOGIN')
        self._sql(place, found, f"ALTER ROLE \"{self.name}\" PASSWORD '{password}'")
        if self.name not in self._sql(place, found, "SELECT datname FROM pg_database").split():
            self._sql(place, found, f'CREATE DATABASE "{self.name}" OWNER "{self.name}"')
        host = found.role
        port = str(_POSTGRESQL_PORT)
        return {
            "port": port,
            "user": self.name,
            "password": password,
            "database": self.name,
            "url": f"postgresql://{self.name}:{quote(password)}@{host}:{port}/{self.name}",
        }

    def _sql(self, place: Services, found: Found, statement: str) -> str:
        said = place.execute(found, "psql", "-qtAXc", statement, user="postgres")
        if said.code:
            raise BuildError("the database could not be made", where=found.name, log=said.output)
        return said.output.strip()
