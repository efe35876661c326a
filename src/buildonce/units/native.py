"""Units of the application on the host itself: from a deb, a pex or a wheelhouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.system import template
from buildonce.units.facts import common

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.environments import Form
    from buildonce.service import Service
    from buildonce.units.facts import Facts

__all__ = ["MADE_BY_SYSTEMD", "command", "defaults", "service", "socket", "sysusers"]

# systemd.exec(5), RuntimeDirectory= and its kin
MADE_BY_SYSTEMD: Final = {
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}


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
        **common(settings, facts),
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
    return template.read("recipes", "systemd", "socket", values=common(settings, facts) | {"port": str(settings.port)})


def sysusers(settings: Service, facts: Facts) -> str:
    """The service's system user."""
    gecos = facts.synopsis.replace("%", "%%").replace('"', "'")
    return template.read("recipes", "systemd", "sysusers", values=common(settings, facts) | {"gecos": gecos})


def defaults(settings: Service, facts: Facts) -> str:
    """``/etc/<name>/env`` as it is before anybody changed it: all of it comments."""
    rows = "\n".join(f'#{key}="{value}"' for key, value in sorted(settings.environment.items()))
    return template.read("recipes", "systemd", "env", values=common(settings, facts) | {"defaults": rows})


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
