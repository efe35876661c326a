"""The recipe "systemd": a pex or a wheelhouse on one host, under the unit that deployments write too."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from buildonce import units
from buildonce.errors import ReleaseError
from buildonce.system import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.environments import Form
    from buildonce.recipes.subject import Subject

__all__ = ["render"]

_PEX = '    install -m 0755 "$file" "$place/$name.pex"'
_WHEELHOUSE = """\
    unpacked=$(mktemp -d)
    tar -xf "$file" -C "$unpacked"
    sh "$unpacked/install.sh" "$place/venv" --python "$interpreter"
    rm -rf "$unpacked\""""


def render(subject: Subject) -> Mapping[str, str]:
    """The files, by path. Raises :class:`ReleaseError` when the release has neither a pex nor a wheelhouse."""
    name, service, facts = subject.name, subject.service, subject.facts()
    form: Form = "pex" if subject.rows("pex") else "wheelhouse"
    if not subject.rows(form):
        raise ReleaseError(
            "the release has neither a pex nor a wheelhouse",
            where=str(subject.folder),
            hint='add "pex" to formats in [tool.release] and build again; the deb brings its own unit',
        )
    values = {
        "name": name,
        "version": subject.version,
        "url": subject.url,
        "user": service.user or name,
        "stage": _PEX if form == "pex" else _WHEELHOUSE,
        "migrate": _migration(subject, form),
        "migrates": "runs the migration, " if service.migrate else "",
        "prepare": "\n".join(_prepare(subject)),
        "rows": _socket_row(name) if service.socket else "",
    }
    found = {
        f"{name}.service": units.service(service, facts, form),
        "sysusers.conf": units.sysusers(service, facts),
        "env": units.defaults(service, facts),
        "artifacts": "".join(f"{row}\n" for row in subject.rows(form)),
        "tmpfiles.conf": template.read("recipes", "systemd", "tmpfiles", values=values),
        **{file: template.read("recipes", "systemd", file, values=values) for file in ("README.md", "install.sh")},
        "health.py": template.raw("recipes", "systemd", "health.py"),
    }
    return found | ({f"{name}.socket": units.socket(service, facts)} if service.socket else {})


def _prepare(subject: Subject) -> Iterator[str]:
    name = subject.name
    yield f"test -e /etc/{name}/env || install -D -m 0600 env /etc/{name}/env    # settings of this host: edit it"
    for one in subject.service.credentials:
        yield f"install -D -m 0600 /dev/stdin /etc/{name}/credentials/{one}    # once; the secret comes from stdin"


def _socket_row(name: str) -> str:
    return f"| `{name}.socket` | systemd listens: a connection waits while the service restarts |"


def _migration(subject: Subject, form: Form) -> str:
    """The lines of shell that migrate the database by the new version, as the service's user, before it is switched."""
    name, service = subject.name, subject.service
    if not service.migrate:
        return ""
    properties = {
        "User": [service.user or name],
        "Group": [service.user or name],
        "StateDirectory": [name],
        "CacheDirectory": [name] if form == "pex" else [],
        "WorkingDirectory": [f"/var/lib/{name}"],
        "EnvironmentFile": [f"-/etc/{name}/env"],
        "LoadCredential": [f"{one}:/etc/{name}/credentials/{one}" for one in service.credentials],
    }
    environment = {**service.environment, **({"PEX_ROOT": f"/var/cache/{name}/pex"} if form == "pex" else {})}
    command = units.command(name, service.migrate, form).replace("/current/", f"/releases/{subject.version}/")
    return " \\\n    ".join(
        (
            f"systemd-run --quiet --wait --pipe --collect --unit={name}-migrate",
            *(f"--property={key}={value}" for key, values in properties.items() for value in values),
            *(f"--setenv={shlex.quote(f'{key}={value}')}" for key, value in sorted(environment.items())),
            f'{command} || fail 1 "the migration failed; what ran before still runs"',
        )
    )
