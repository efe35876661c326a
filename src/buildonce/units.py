"""The one place that writes unit files: a service runs under systemd from the same settings in every format.

The deb carries what is rendered here, deployments and recipes write it to the host. Reference: systemd.unit(5),
systemd.service(5), systemd.exec(5), systemd.socket(5), sysusers.d(5).
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from buildonce.system import share, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.environments import Form
    from buildonce.project import Project
    from buildonce.service import Service

__all__ = [
    "MADE_BY_SYSTEMD",
    "USER",
    "Engine",
    "Facts",
    "command",
    "container",
    "defaults",
    "files",
    "homepage",
    "service",
    "socket",
    "synopsis",
    "sysusers",
    "volume",
]

Engine = Literal["docker", "podman"]

_WIDTH: Final = 78
# systemd.exec(5), RuntimeDirectory= and its kin
MADE_BY_SYSTEMD: Final = {
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}
USER: Final = 65532  # of every image: buildonce.oci.configuration
_TASKS: Final = 512  # in a container, when nothing is said: a fork bomb stays one service's


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a unit says beside the settings of the service.

    ``image`` is the ID of the loaded image (``sha256:`` and the digest of its configuration), for the form ``oci``
    alone. ``tini``: the image starts its program through an init of its own, as all do that are not made from a base
    image of the user's.
    """

    name: str
    synopsis: str = "Python application"
    documentation: str = ""  # a URI; "" where there is none
    image: str = ""
    tini: bool = True

    @classmethod
    def of(cls, project: Project, *, image: str = "") -> Facts:
        """The facts of *project*."""
        return cls(
            name=project.name,
            synopsis=synopsis(project.name, project.summary),
            documentation=homepage(project),
            image=image,
            tini=not project.settings.image.base,
        )


def synopsis(name: str, summary: str) -> str:
    """One line below 80 columns: no sentence, and no article or name of the package before it."""
    text = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", summary).split()).rstrip(". ")
    text = re.sub(rf"(?i)^({re.escape(name)}\s*(:|-|is)\s+)?((a|an|the)\s+)?", "", text)
    return textwrap.shorten(text, _WIDTH, placeholder="…") or "Python application"


def homepage(project: Project) -> str:
    """The project's page on the web, or ``""``."""
    pages = {label.lower(): url for label, url in project.urls if re.fullmatch(r"https?://[!-~]+", url)}
    wanted = ("homepage", "home", "documentation", "source", "repository")
    return next((pages[label] for label in wanted if label in pages), next(iter(pages.values()), ""))


def files(settings: Service, facts: Facts, form: Form, engine: Engine = "docker") -> Mapping[str, str]:
    """The files that a deployment writes on a host, by path: the key ``units`` of its plan.

    Nothing for a deb, which has its own. None of them migrates the database: a deployment does that, once. After they
    are written: ``systemd-sysusers`` (no image needs it), ``systemctl daemon-reload``, and with
    ``<name>.socket`` that one is enabled and started before the service.
    """
    place = "/etc/systemd/system"
    if form == "deb":
        return {}
    if form == "oci":
        return {f"{place}/{facts.name}.service": container(settings, facts, engine)}
    found = {
        f"{place}/{facts.name}.service": service(settings, facts, form),
        f"/etc/sysusers.d/{facts.name}.conf": sysusers(settings, facts),
    }
    return found | ({f"{place}/{facts.name}.socket": socket(settings, facts)} if settings.socket else {})


def command(name: str, words: str, form: Form) -> str:
    """How a host runs *words*, a console script of *name* and its arguments; for an image, inside it."""
    script, _, arguments = words.partition(" ")
    if form == "pex":
        # A pex starts the one script it was made with; this names any.
        return f"/usr/bin/env PEX_SCRIPT={script} /opt/{name}/current/{name}.pex {arguments}".rstrip()
    folder = f"/opt/{name}/current/venv" if form == "wheelhouse" else f"/opt/venvs/{name}"
    return f"{folder}/bin/{words}"


def service(settings: Service, facts: Facts, form: Form) -> str:
    """``<name>.service`` for the application on the host itself: *form* is ``deb``, ``pex`` or ``wheelhouse``.

    Only the deb's migrates the database before each start.
    """
    name = facts.name
    runs = {"ExecStartPre": settings.migrate if form == "deb" else "", "ExecStart": settings.command}
    values = {
        **_common(settings, facts),
        "after": f" {name}.socket" if settings.socket else "",
        "requires": f"Requires={name}.socket" if settings.socket else "",
        "type": "Type=notify\nNotifyAccess=main" if settings.notify else "Type=exec",
        "exec": "\n".join(f"{key}={command(name, words, form)}" for key, words in runs.items() if words),
        # The folder that a pex unpacks itself to at its first start.
        "pex": f"Environment=PEX_ROOT=/var/cache/{name}/pex" if form == "pex" else "",
        "folders": _folders(name, (*settings.writable, *([f"/var/cache/{name}"] if form == "pex" else ()))),
        "resources": "\n".join(_limits(settings)),
    }
    return template.read("recipes", "systemd", "service", values=values)


def socket(settings: Service, facts: Facts) -> str:
    """``<name>.socket``: systemd listens on the service's port."""
    return template.read("recipes", "systemd", "socket", values=_common(settings, facts) | {"port": str(settings.port)})


def sysusers(settings: Service, facts: Facts) -> str:
    """The service's system user."""
    gecos = facts.synopsis.replace("%", "%%").replace('"', "'")
    return template.read("recipes", "systemd", "sysusers", values=_common(settings, facts) | {"gecos": gecos})


def defaults(settings: Service, facts: Facts) -> str:
    """``/etc/<name>/env`` as it is before anybody changed it: all of it comments."""
    rows = "\n".join(f'#{key}="{value}"' for key, value in sorted(settings.environment.items()))
    return template.read("recipes", "systemd", "env", values=_common(settings, facts) | {"defaults": rows})


def container(settings: Service, facts: Facts, engine: Engine, *, colour: bool = False) -> str:
    """``<name>.service`` for the image: a container of its own, which *engine* starts anew each time.

    With *colour* it is the template unit ``<name>@.service``: the instance, such as ``blue``, names the container, and
    ``/etc/<name>/<instance>.env`` has ``IMAGE`` and the ``PORT`` of this host, which only this host reaches.
    """
    name = facts.name
    instance = "-%i" if colour else ""
    client = f"/usr/bin/{engine}"
    own = [f"EnvironmentFile=/etc/{name}/%i.env"] if colour else []
    if engine == "docker":
        own.append(f"Environment=DOCKER_CONFIG=/run/{name}{instance}")  # root's home is out of reach
    values = {
        **_common(settings, facts),
        "after": " docker.service" if engine == "docker" else "",
        "requires": "Requires=docker.service" if engine == "docker" else "",
        "own": "\n".join(own),
        "run": f"{name}{instance}",
        "container": f"{name}{instance}",
        "engine": client,
        "files": f"/etc/{name}/env",
        "copies": "\n".join(_copies(settings, f"/run/{name}{instance}/credentials")),
        "arguments": "\n".join(f"  {words} \\" for words in _arguments(settings, facts, engine, instance)),
        "image": "${IMAGE}" if colour else facts.image,
        "confined": _client() if engine == "docker" else "",
    }
    return template.read("recipes", "docker", "service", values=values)


def _common(settings: Service, facts: Facts) -> dict[str, str]:
    name = facts.name
    loaded = (f"LoadCredential={one}:/etc/{name}/credentials/{one}" for one in settings.credentials)
    return {
        "name": name,
        "user": settings.user or name,
        "synopsis": facts.synopsis.replace("%", "%%"),
        "documentation": f"Documentation={facts.documentation.replace('%', '%%')}" if facts.documentation else "",
        # systemd.exec(5): a percent sign begins a specifier. Quotes and backslashes are refused before.
        "environment": "\n".join(
            f'Environment="{key}={value.replace("%", "%%")}"' for key, value in sorted(settings.environment.items())
        ),
        "credentials": "\n".join(loaded),
        "confined": _confined(),
    }


def _confined() -> str:
    return share.path("recipes", "systemd", "confined").read_text(encoding="utf-8").rstrip("\n")


def _client() -> str:
    """The confinement of a program that does nothing but talk to the engine's socket."""
    families = "RestrictAddressFamilies=AF_UNIX"
    lines = re.sub(r"(?m)^RestrictAddressFamilies=.*$", families, _confined())
    reason = "\n# The client, which only talks to the engine's socket; options above confine the container."
    return f"{reason}\n{lines}\nPrivateNetwork=yes\nProcSubset=pid\nMemoryDenyWriteExecute=yes"


def _folders(name: str, writable: tuple[str, ...]) -> str:
    """The unit's lines about folders: systemd makes those in its places, others have to be there."""
    lines: dict[str, list[str]] = {"StateDirectory": [name]}
    for folder in writable:
        place = next((key for parent, key in MADE_BY_SYSTEMD.items() if folder.startswith(parent)), None)
        # a dash: a folder that is not there must not keep the service from starting
        lines.setdefault(place or "ReadWritePaths", []).append(folder.split("/", 3)[3] if place else f"-{folder}")
    return "\n".join(f"{key}={' '.join(dict.fromkeys(values))}" for key, values in lines.items())


def _limits(settings: Service) -> Iterator[str]:
    limits = settings.resources
    if limits.memory:
        yield f"MemoryMax={limits.memory}"
    if limits.tasks:
        yield f"TasksMax={limits.tasks}"
    if limits.cpu:
        yield f"CPUQuota={limits.cpu}"


def _copies(settings: Service, place: str) -> Iterator[str]:
    """The lines that lay the credentials where the image's user may read them: in memory, below /run."""
    if settings.credentials:
        owner = f"-o {USER} -g {USER}"
        yield f"ExecStartPre=+/usr/bin/install -d -m 0500 {owner} {place}"
        for one in settings.credentials:
            yield f"ExecStartPre=+/usr/bin/install -m 0400 {owner} ${{CREDENTIALS_DIRECTORY}}/{one} {place}/{one}"


def _arguments(settings: Service, facts: Facts, engine: Engine, instance: str) -> Iterator[str]:
    """What stands behind ``docker run``."""
    name, limits = facts.name, settings.resources
    yield f"--rm --name {name}{instance} --pull never --env-file /run/{name}{instance}/names"
    yield f"--log-driver {'none' if engine == 'docker' else 'passthrough'}"  # the journal has what the client prints
    if not facts.tini:
        yield "--init"
    yield "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
    yield f"--pids-limit {limits.tasks or _TASKS}" + (f" --memory {limits.memory.lower()}" if limits.memory else "")
    if limits.cpu:
        yield f"--cpus {int(limits.cpu.removesuffix('%')) / 100:g}"
    for folder in dict.fromkeys((f"/var/lib/{name}", *settings.writable)):
        # A volume is made with the owner that the image gives the folder.
        yield f"--volume {volume(name, folder)}:{folder}"
    if settings.credentials:
        place = f"/run/credentials/{name}"
        yield f"--volume /run/{name}{instance}/credentials:{place}:ro --env CREDENTIALS_DIRECTORY={place}"
    if settings.port is not None:
        yield f"--publish {'127.0.0.1:${PORT}' if instance else settings.port}:{settings.port}"


def volume(name: str, folder: str) -> str:
    """The name of the volume that holds *folder* of the container."""
    own = f"/var/lib/{name}"
    return name if folder == own else f"{name}{re.sub('[^a-z0-9]+', '-', folder.lower())}"
