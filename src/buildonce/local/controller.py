"""``release up`` and ``release down``: an environment on this machine, from the very artifact that production gets."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buildonce import project as projects
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.local import choosing, gate, hosted, needs
from buildonce.local.given import LOADED, VERSION, Given
from buildonce.local.image import Image
from buildonce.needs import APPLICATION, filled
from buildonce.system import images, services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from buildonce.config import Service
    from buildonce.local.choosing import Form
    from buildonce.local.given import Runs
    from buildonce.project import Project
    from buildonce.publishers import Means
    from buildonce.system import System
    from buildonce.system.services import Found, Services

__all__ = ["Running", "Wish", "down", "up"]

_BEFORE: Final = "before-"  # begins the role of what ran until now, while the new version is tried
_REPLACED: Final = (APPLICATION, gate.ROLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the command line says."""

    what: str = ""  # a version, or the folder of a release; "": the newest release
    form: Form | None = None
    name: str = ""  # of the environment; "": as the release
    port: int = 0  # on 127.0.0.1; 0: the one it had, or any that is free
    keys: tuple[Path, ...] = ()  # public keys to trust; without any those of this user


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What runs now."""

    environment: str
    name: str
    version: str
    format: Form
    file: str
    sha256: str
    url: str  # "" for what listens nowhere
    previous: str  # the version that ran before, "" for none
    containers: Mapping[str, str] = field(default_factory=dict)  # role → name


def up(root: Path, wish: Wish, means: Means, *, home: Path, state: Path) -> Running:
    """Start what *wish* names of the project in *root*, in the place of what runs there.

    The user's keys are in *home*; logs are kept below *state*.

    When it does not become healthy, or is interrupted, what this made is removed and what ran before runs again.
    """
    project = projects.read(root)
    service = _service(project)
    means.system.progress.step("verify the release")
    chosen = choosing.choose(project, wish.what, wish.form, means)
    run, name = secrets.token_hex(8), wish.name or project.name
    with _alone(means.system, name), services.opened(name, run) as place:
        _recover(place)
        form: Runs | None = None
        try:
            place.connect()
            facts = needs.start(project, chosen.target, place, means.system)
            settings = project.settings.up
            given = Given(
                project=project,
                service=service,
                chosen=chosen,
                place=place,
                means=means,
                keys=wish.keys,
                home=home,
                state=state,
                environment=filled(settings.environment, facts),
                credentials=filled({key: settings.credentials[key] for key in service.credentials}, facts),
            )
            form = Image(given) if chosen.form == "oci" else hosted.Hosted(given)
            return _started(given, form, wish)
        except BaseException:
            place.remove_all(run=run)
            if form:
                form.abandon()
            raise


def down(name: str, system: System) -> dict[str, int]:
    """Remove the environment *name*, or all of this machine's for "": containers, networks, volumes, loaded images.

    Answers how much was removed of each.
    """
    found = services.names()
    return {one: _removed(one, system) for one in found if name in ("", one)}


def _removed(name: str, system: System) -> int:
    with _alone(system, name), services.opened(name, "") as place:
        system.progress.step(f"remove {name}")
        loaded = {one.image for one in place.containers() if LOADED in one.facts}
        count = place.remove_all()
    return count + sum(images.remove(one) for one in loaded)


def _service(project: Project) -> Service:
    """Raises :class:`ConfigurationError` for what cannot be started."""
    found = project.settings.service
    if found is None:
        raise ConfigurationError(
            "what is no service cannot be started",
            where="pyproject.toml: tool.release.service",
            hint='add [tool.release.service] with command = "…", port = 8000 and health = "/health"',
        )
    if missing := sorted(set(found.credentials) - project.settings.up.credentials.keys()):
        raise ConfigurationError(
            f"the service wants the credentials {', '.join(missing)}",
            where="pyproject.toml: tool.release.up.credentials",
            hint="give each a value for this machine, and none that is used elsewhere",
        )
    return found


def _started(given: Given, form: Runs, wish: Wish) -> Running:
    place, chosen = given.place, given.chosen
    base = form.prepare()
    running = {one.role: one for one in place.containers() if one.role in _REPLACED}
    stays = {role for role, one in running.items() if _stays(one, given, form, base, wish.port)}
    previous = _version(place, running.get(APPLICATION), given.project.name)
    with _replacing(place, [one for role, one in running.items() if role not in stays]):
        given.means.system.progress.step(f"start {given.project.name} {chosen.version}")
        found = form.start()
        opened = _open(given, form, found, base, running.get(gate.ROLE), wish.port)
    for one in running.values():
        if LOADED in one.facts and one.image != found.image:
            images.remove(one.image)
    return Running(
        environment=place.name,
        name=given.project.name,
        version=chosen.version,
        format=chosen.form,
        file=chosen.artifact.file,
        sha256=chosen.artifact.sha256,
        url=f"http://127.0.0.1:{gate.published(opened)}" if opened else "",
        previous=previous,
        containers={one.role: one.name for one in place.containers()},
    )


def _stays(running: Found, given: Given, form: Runs, base: str, port: int) -> bool:
    """Whether a container goes on to run while the version changes."""
    if running.role == APPLICATION:
        return form.keeps(running)
    same = running.image == images.identity(base) and gate.leads(running, given.service.port)
    return running.running and same and port in (0, gate.published(running))


def _open(given: Given, form: Runs, found: Found, base: str, before: Found | None, port: int) -> Found | None:
    """Let this machine in, and wait until the application is healthy."""
    service = given.service

    def alive() -> None:
        now = given.place.state(found.id)
        if now is None or not now.running:
            raise ReleaseError("the application ended by itself", log=form.told(found))

    if service.port is None:
        gate.settle(alive)
        return None
    interpreter = str(given.chosen.target.interpreter)
    at = port or (gate.published(before) if before else 0)
    opened = given.place.find(gate.ROLE) or gate.open_gate(given.place, base, interpreter, service.port, at=at)
    given.means.system.progress.step(f"wait for {given.chosen.version} at {service.health}")
    expected = gate.Expected(
        health=service.health,
        version=given.chosen.version,
        timeout=given.project.settings.up.timeout,
    )
    try:
        gate.await_health(given.place, opened, expected, alive=alive)
    except ReleaseError as error:
        error.log = error.log or form.told(found)
        raise
    return opened


@contextlib.contextmanager
def _replacing(place: Services, before: Sequence[Found]) -> Iterator[None]:
    """What runs is stopped, not removed, until the new version is healthy; and runs again when that does not happen."""
    try:
        for one in before:
            place.stop(one, role=f"{_BEFORE}{one.role}")
        yield
    except BaseException:
        _recover(place)
        raise
    for one in before:
        place.remove(one)


def _recover(place: Services) -> None:
    """Let run again what was stopped for a version that did not become healthy, or whose `up` was killed."""
    there = {one.role: one for one in place.containers()}
    back = []
    for role, one in there.items():
        if role.startswith(_BEFORE):
            own = role.removeprefix(_BEFORE)
            if own in there:
                place.remove(there[own])
            place.resume(one, role=own)
            back.append(own)
    if back and (found := place.find(gate.ROLE)):
        gate.await_answer(place, found)


def _version(place: Services, running: Found | None, name: str) -> str:
    """Of the application that runs; "" for none."""
    return "" if running is None else running.facts.get(VERSION) or hosted.version(place, running, name)


@contextlib.contextmanager
def _alone(system: System, name: str) -> Iterator[None]:
    """One command at a time changes an environment."""
    place = system.store.root / "up"
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReleaseError(
                f"another command is changing the environment {name} now", hint="wait for it, or take another --name"
            ) from None
        yield
