"""The recipe "compose": the image and what it needs, for small hosts and development.

Reference: the Compose Specification.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from buildonce import units
from buildonce.needs import filled
from buildonce.system import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.recipes.subject import Image, Subject

__all__ = ["render"]


def render(subject: Subject) -> Mapping[str, str]:
    """The files, by path. Raises :class:`buildonce.errors.ReleaseError` when the release has no image for the host."""
    name, service, image = subject.name, subject.service, subject.image()
    repository = subject.repository()
    needs = [*_databases(subject)]
    values = {
        "name": name,
        "version": subject.version,
        "image": f"{repository}@{image.digest}" if repository else image.config,
        "policy": "missing" if repository else "never",
        "port": str(service.port),
        "check": json.dumps(_check(subject, image)),
        "common": "\n".join(_common(subject)),
        "depends": "\n".join(_depends(needs, f"{name}-migrate" if service.migrate else "")),
        "migration": "\n".join(_migration(subject, image, needs)),
        "needs": "\n".join(line for need in needs for line in _database(need, name)),
        "volumes": "\n".join(f"{one}: {{}}" for one in (*_volumes(subject), *needs)),
        "secrets": "\n".join(_secrets(subject)),
    }
    told = {
        **values,
        "get": "docker compose pull" if repository else f"docker load --input ../{name}-{subject.version}/{image.file}",
        "needs": _told(subject, needs),
        "things": ", its migration" if service.migrate else "",
        "credentials": _files(subject),
    }
    return {
        "compose.yaml": template.read("recipes", "compose", "compose.yaml", values=values),
        "README.md": template.read("recipes", "compose", "README.md", values=told),
        "env": subject.env,
    }


def _databases(subject: Subject) -> Iterator[str]:
    return (name for name, need in subject.project.settings.up.needs.items() if need.type == "postgresql")


def _check(subject: Subject, image: Image) -> list[str]:
    return ["CMD", str(image.target.interpreter), "-I", "-S", "/usr/lib/buildonce/health.py", subject.url]


def _common(subject: Subject) -> Iterator[str]:
    """What the service and its migration share."""
    service, limits = subject.service, subject.service.resources
    yield "env_file: env"
    environment = dict(_environment(subject))
    if environment:
        yield "environment:"
        yield from (f"  {key}: {_text(value)}" for key, value in environment.items())
    yield "read_only: true"
    yield "tmpfs: /tmp"
    yield "cap_drop: [ALL]"
    yield 'security_opt: ["no-new-privileges:true"]'
    yield f"pids_limit: {limits.tasks or units.TASKS}"
    if limits.memory:
        yield f"mem_limit: {limits.memory.lower()}"
    if limits.cpu:
        yield f"cpus: {int(limits.cpu.removesuffix('%')) / 100:g}"
    if not subject.facts().tini:
        yield "init: true"
    yield "volumes:"
    yield from (f"  - {volume}:{folder}" for volume, folder in _volumes(subject).items())
    if service.credentials:
        yield f"secrets: [{', '.join(service.credentials)}]"


def _environment(subject: Subject) -> Iterator[tuple[str, str]]:
    """Where the application finds what it needs; the password is one for this machine, from compose's own `.env`."""
    up = subject.project.settings.up
    known = {
        need: {
            "host": need,
            "port": "5432",
            "user": subject.name,
            "password": _PASSWORD,
            "database": subject.name,
            "url": f"postgresql://{subject.name}:{_PASSWORD}@{need}:5432/{subject.name}",
        }
        for need in _databases(subject)
    }
    for key, value in up.environment.items():
        wanted = {part.partition(".")[0] for part in value.split("{")[1:]}
        if wanted <= known.keys():
            yield from filled({key: value.replace("$", "$$")}, known).items()
    if subject.service.credentials:
        yield "CREDENTIALS_DIRECTORY", "/run/secrets"


_PASSWORD = "${DATABASE_PASSWORD:-only-for-development}"  # noqa: S105 - no secret


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _volumes(subject: Subject) -> dict[str, str]:
    folders = dict.fromkeys((f"/var/lib/{subject.name}", *subject.service.writable))
    return {units.volume(subject.name, folder): folder for folder in folders}


def _depends(needs: list[str], migration: str) -> Iterator[str]:
    if needs or migration:
        yield "depends_on:"
    for need in needs:
        yield f"  {need}: {{condition: service_healthy}}"
    if migration:
        yield f"  {migration}: {{condition: service_completed_successfully}}"


def _migration(subject: Subject, image: Image, needs: list[str]) -> Iterator[str]:
    name, migrate, repository = subject.name, subject.service.migrate, subject.repository()
    if not migrate:
        return
    script, *words = migrate.split()
    yield ""
    yield f"{name}-migrate:"
    yield f"  image: {f'{repository}@{image.digest}' if repository else image.config}"
    yield f"  pull_policy: {'missing' if repository else 'never'}"
    yield f"  entrypoint: {json.dumps([f'/opt/venvs/{name}/bin/{script}'])}"
    yield f"  command: {json.dumps(words)}"
    yield "  healthcheck: {disable: true}"
    yield from (f"  {line}" for line in (*_common(subject), *_depends(needs, "")))


def _database(need: str, user: str) -> Iterator[str]:
    """A PostgreSQL. Its image is nobody's release: name one by its digest in `.env`."""
    yield ""
    yield f"{need}:"
    yield "  image: ${POSTGRESQL_IMAGE:-postgres:17}"
    yield "  restart: unless-stopped"
    yield "  environment:"
    yield f"    POSTGRES_USER: {user}"
    yield f"    POSTGRES_PASSWORD: {_text(_PASSWORD)}"
    yield "  healthcheck:"
    yield '    test: ["CMD-SHELL", "pg_isready --username \\"$$POSTGRES_USER\\""]'
    yield "    interval: 2s"
    yield "    retries: 30"
    yield f"  volumes: [{need}:/var/lib/postgresql/data]"


def _secrets(subject: Subject) -> Iterator[str]:
    if subject.service.credentials:
        yield ""
        yield "secrets:"
    for one in subject.service.credentials:
        yield f"  {one}: {{file: credentials/{one}}}"


def _told(subject: Subject, needs: list[str]) -> str:
    others = [name for name in subject.project.settings.up.needs if name not in needs]
    said = []
    if needs:
        said.append(
            f"A PostgreSQL runs beside it ({', '.join(needs)}). `.env` may name its image by digest "
            "(`POSTGRESQL_IMAGE`), and has to set `DATABASE_PASSWORD` for anything but development."
        )
    if others:
        said.append(f"Not here, because there is no image of it: {', '.join(others)}.")
    return "\n".join(said)


def _files(subject: Subject) -> str:
    if not subject.service.credentials:
        return ""
    listed = ", ".join(f"`credentials/{one}`" for one in subject.service.credentials)
    return f"Secrets are files beside `compose.yaml` that the image's user, {units.USER}, may read: {listed}.\n"
