"""Units of containers: a client of the engine, which runs the image by its ID and never pulls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from buildonce.system import template
from buildonce.units.facts import common, confined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.service import Service
    from buildonce.units.facts import Facts

__all__ = ["TASKS", "USER", "Engine", "container", "migration", "volume"]

Engine = Literal["docker", "podman"]

USER: Final = 65532  # of every image: buildonce.oci.configuration
TASKS: Final = 512  # in a container, when nothing is said: a fork bomb stays one service's


def container(settings: Service, facts: Facts, engine: Engine, *, colour: bool = False) -> str:
    """``<name>.service`` for the image: a container of its own, which *engine* starts anew each time.

    With *colour* it is the template unit ``<name>@.service``: the instance, such as ``blue``, names the container, and
    ``/etc/<name>/<instance>.env`` has ``IMAGE`` and the ``PORT`` of this host, which only this host reaches.
    """
    run = _Run(name=facts.name + ("-%i" if colour else ""), image="${IMAGE}" if colour else facts.image)
    port = (
        ()
        if settings.port is None
        else (f"--publish {'127.0.0.1:${PORT}' if colour else settings.port}:{settings.port}",)
    )
    values = {
        "type": "Type=exec",
        "arguments": _lines((*_arguments(settings, facts, engine, run), *port)),
        "words": run.image,
        "restart": "# Ended by SIGTERM, as it was asked to.\nSuccessExitStatus=143\nRestart=on-failure\nRestartSec=5",
        "patience": "300",
        "install": "\n[Install]\nWantedBy=multi-user.target",
    }
    return template.read("recipes", "docker", "service", values=_client(settings, facts, engine, run, colour) | values)


def migration(settings: Service, facts: Facts, engine: Engine) -> str:
    """``<name>-migrate@.service``: the migration, once, in a container of the image that the instance's file names."""
    run = _Run(name=f"{facts.name}-migrate-%i", image="${IMAGE}")
    script, _, words = settings.migrate.partition(" ")
    entrypoint = f"--entrypoint /opt/venvs/{facts.name}/bin/{script}"
    values = {
        "type": "Type=oneshot",
        "arguments": _lines((*_arguments(settings, facts, engine, run), entrypoint)),
        "words": f"{run.image} {words}".rstrip(),
        "restart": "",
        "patience": "infinity",
        "install": "",
    }
    return template.read("recipes", "docker", "service", values=_client(settings, facts, engine, run, True) | values)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A container: ``name`` is also that of its folder below /run."""

    name: str
    image: str

    @property
    def folder(self) -> str:
        return f"/run/{self.name}"


def _client(settings: Service, facts: Facts, engine: Engine, run: _Run, colour: bool) -> dict[str, str]:
    """The values that all units of containers share."""
    own = [f"EnvironmentFile=/etc/{facts.name}/%i.env"] if colour else []
    if engine == "docker":
        own.append(f"Environment=DOCKER_CONFIG={run.folder}")  # root's home is out of reach
    return {
        **common(settings, facts),
        "after": " docker.service" if engine == "docker" else "",
        "requires": "Requires=docker.service" if engine == "docker" else "",
        "own": "\n".join(own),
        "run": run.name,
        "container": run.name,
        "engine": f"/usr/bin/{engine}",
        "copies": "\n".join(_copies(settings, f"{run.folder}/credentials")),
        "confined": _confined_client() if engine == "docker" else "",
    }


def _lines(arguments: tuple[str, ...]) -> str:
    return "\n".join(f"  {words} \\" for words in arguments)


def _confined_client() -> str:
    """The confinement of a program that does nothing but talk to the engine's socket."""
    families = "RestrictAddressFamilies=AF_UNIX"
    lines = re.sub(r"(?m)^RestrictAddressFamilies=.*$", families, confined())
    reason = "\n# The client, which only talks to the engine's socket; options above confine the container."
    return f"{reason}\n{lines}\nPrivateNetwork=yes\nProcSubset=pid\nMemoryDenyWriteExecute=yes"


def _copies(settings: Service, place: str) -> Iterator[str]:
    """The lines that lay the credentials where the image's user may read them: in memory, below /run."""
    if settings.credentials:
        owner = f"-o {USER} -g {USER}"
        yield f"ExecStartPre=+/usr/bin/install -d -m 0500 {owner} {place}"
        for one in settings.credentials:
            yield f"ExecStartPre=+/usr/bin/install -m 0400 {owner} ${{CREDENTIALS_DIRECTORY}}/{one} {place}/{one}"


def _arguments(settings: Service, facts: Facts, engine: Engine, run: _Run) -> Iterator[str]:
    """What stands behind ``docker run``."""
    name, limits = facts.name, settings.resources
    yield f"--rm --name {run.name} --pull never --env-file {run.folder}/names"
    yield f"--log-driver {'none' if engine == 'docker' else 'passthrough'}"  # the journal has what the client prints
    if not facts.tini:
        yield "--init"
    yield "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
    yield f"--pids-limit {limits.tasks or TASKS}" + (f" --memory {limits.memory.lower()}" if limits.memory else "")
    if limits.cpu:
        yield f"--cpus {int(limits.cpu.removesuffix('%')) / 100:g}"
    for folder in dict.fromkeys((f"/var/lib/{name}", *settings.writable)):
        # A volume is made with the owner that the image gives the folder.
        yield f"--volume {volume(name, folder)}:{folder}"
    if settings.credentials:
        place = f"/run/credentials/{name}"
        yield f"--volume {run.folder}/credentials:{place}:ro --env CREDENTIALS_DIRECTORY={place}"


def volume(name: str, folder: str) -> str:
    """The name of the volume that holds *folder* of the container."""
    own = f"/var/lib/{name}"
    return name if folder == own else f"{name}{re.sub('[^a-z0-9]+', '-', folder.lower())}"
