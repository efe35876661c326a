"""The recipe "quadlet": the image under podman, whose generator makes a systemd unit of it.

Reference: podman-systemd.unit(5) of podman 4.6: older ones lack keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce import units
from buildonce.system import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.recipes.subject import Image, Subject

__all__ = ["render"]


def render(subject: Subject) -> Mapping[str, str]:
    """The files, by path. Raises :class:`buildonce.errors.ReleaseError` when the release has no image for the host."""
    name, service, image = subject.name, subject.service, subject.image()
    facts = subject.facts(image.config)
    script, _, words = service.migrate.partition(" ")
    values = {
        "name": name,
        "version": subject.version,
        "file": image.file,
        "image": image.config,
        "synopsis": facts.synopsis.replace("%", "%%"),
        "documentation": f"Documentation={facts.documentation.replace('%', '%%')}" if facts.documentation else "",
        "after": f" {name}-migrate.service" if service.migrate else "",
        "requires": f"Requires={name}-migrate.service" if service.migrate else "",
        "published": f"PublishPort={service.port}:{service.port}",
        "secrets": "\n".join(_secrets(subject)),
        "volumes": "\n".join(f"Volume={volume}.volume:{folder}" for volume, folder in _volumes(subject)),
        "limits": f"PodmanArgs={' '.join(_limits(subject))}",
        "check": _check(subject, image),
        # A key for it came with podman 5.0.
        "entrypoint": f"PodmanArgs=--entrypoint=/opt/venvs/{name}/bin/{script}",
        "words": words,
        "rows": f"| `{name}-migrate.container` | the migration, before each start |" if service.migrate else "",
        "credentials": _told(subject),
    }
    found = {
        f"{name}.container": template.read("recipes", "quadlet", "container", values=values),
        "README.md": template.read("recipes", "quadlet", "README.md", values=values),
        "env": subject.env,
        **{f"{volume}.volume": f"[Volume]\nVolumeName={volume}\n" for volume, _ in _volumes(subject)},
    }
    if service.migrate:
        text = template.read("recipes", "quadlet", "migrate.container", values=values)
        found[f"{name}-migrate.container"] = text
    return found


def _volumes(subject: Subject) -> Iterator[tuple[str, str]]:
    for folder in dict.fromkeys((f"/var/lib/{subject.name}", *subject.service.writable)):
        yield units.volume(subject.name, folder), folder


def _secrets(subject: Subject) -> Iterator[str]:
    """podman's own secrets, as files of the image's user."""
    for one in subject.service.credentials:
        yield f"Secret={subject.name}-{one},type=mount,target={one},uid={units.USER},gid={units.USER},mode=0400"
    if subject.service.credentials:
        yield "Environment=CREDENTIALS_DIRECTORY=/run/secrets"


def _limits(subject: Subject) -> Iterator[str]:
    """Those for which it has no keys."""
    limits = subject.service.resources
    yield f"--pids-limit={limits.tasks or units.TASKS}"
    if limits.memory:
        yield f"--memory={limits.memory.lower()}"
    if limits.cpu:
        yield f"--cpus={int(limits.cpu.removesuffix('%')) / 100:g}"
    if not subject.facts().tini:
        yield "--init"


def _check(subject: Subject, image: Image) -> str:
    """The image's own health check, which podman does not read from an image of the OCI format.

    Without ``CMD`` podman gives the line to a shell, which the image has not.
    """
    return f"CMD {image.target.interpreter} -I -S /usr/lib/buildonce/health.py {subject.url}"


def _told(subject: Subject) -> str:
    if not subject.service.credentials:
        return ""
    lines = "\n".join(f"podman secret create {subject.name}-{one} -" for one in subject.service.credentials)
    return f"Secrets are podman's, each read from stdin:\n\n```sh\n{lines}\n```\n"
