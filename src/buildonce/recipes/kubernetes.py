"""The recipe "kubernetes": kustomize base and overlays, and the script that applies them in order and goes back.

Kubernetes itself only reports a Deployment that makes no progress. Reference: apps/v1, batch/v1, policy/v1.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from buildonce import units
from buildonce.errors import ReleaseError
from buildonce.system import share, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.recipes.subject import Subject

__all__ = ["render"]

_LONGEST: Final = 63  # of a label's value and of a name: RFC 1123


def render(subject: Subject) -> Mapping[str, str]:
    """The files, by path. Raises :class:`ReleaseError` without an image, or when no registry has it."""
    name, service, image = subject.name, subject.service, subject.image_of_all()
    if not name[0].isalpha():
        raise ReleaseError(
            f"a Service of Kubernetes cannot be named {name!r}: names begin with a letter",
            where="pyproject.toml: tool.release.name",
            hint=f'such as name = "app-{name}"',
        )
    script, *words = service.migrate.split() or [""]
    values = {
        "name": name,
        "version": subject.version,
        "label": _slug(subject.manifest.version.oci),
        "job": _slug(f"{name}-migrate-{subject.manifest.version.oci}".lower().replace(".", "-")),
        "repository": _repository(subject),
        "digest": image.digest,
        "user": str(units.USER),
        "port": str(service.port),
        "health": json.dumps(service.health),
        "interpreter": str(image.target.interpreter),
        "command": json.dumps([f"/opt/venvs/{name}/bin/{script}", *words]),
        "environment": "\n".join(_environment(subject)),
        "literals": _literals(subject),
        "resources": "\n".join(_resources(subject)),
        "mounts": "\n".join(_mounts(subject)),
        "volumes": "\n".join(_volumes(subject)),
        "migration": "- migration.yaml" if service.migrate else "",
        "migrate": "migrate" if service.migrate else "",
        "migrates": "runs the migration as a Job, once for each version, " if service.migrate else "",
        "things": ", the migration's Job" if service.migrate else "",
        "secrets": "\n".join(_creating(subject)),
        "state": _state(subject),
    }
    source = share.path("recipes", "kubernetes")
    paths = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    wanted = [path for path in paths if service.migrate or path != "base/migration.yaml"]
    found = {path: template.read("recipes", "kubernetes", *path.split("/"), values=values) for path in wanted}
    return found | {"env": subject.env}


def _repository(subject: Subject) -> str:
    if found := subject.repository():
        return found
    raise ReleaseError(
        "nodes fetch the image from a registry, and the project names none",
        where="pyproject.toml: tool.release.publish",
        hint='add [tool.release.publish.NAME] with type = "registry" and image = "oci://host/team/name"',
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)[:_LONGEST].strip("-.")


def _environment(subject: Subject) -> Iterator[str]:
    name = subject.name
    yield "envFrom:"
    yield f"  - configMapRef: {{name: {name}-env}}"
    yield f"  - secretRef: {{name: {name}-env, optional: true}}"
    if subject.service.credentials:
        yield "env:"
        yield f"  - {{name: CREDENTIALS_DIRECTORY, value: {_credentials(name)}}}"


def _credentials(name: str) -> str:
    return f"/run/credentials/{name}"


def _literals(subject: Subject) -> str:
    rows = [f"  - {json.dumps(f'{key}={value}')}" for key, value in sorted(subject.service.environment.items())]
    return "\n".join(("literals:", *rows)) if rows else "literals: []"


def _resources(subject: Subject) -> Iterator[str]:
    """Limits, which are then also what is requested. Kubernetes limits processes by node, not by pod."""
    limits = subject.service.resources
    if limits.memory or limits.cpu:
        yield "resources:"
        yield "  limits:"
    if limits.memory:
        yield f"    memory: {limits.memory}i"
    if limits.cpu:
        yield f"    cpu: {int(limits.cpu.removesuffix('%')) * 10}m"


def _folders(subject: Subject) -> Iterator[tuple[str, str]]:
    for folder in ("/tmp", *dict.fromkeys((f"/var/lib/{subject.name}", *subject.service.writable))):  # noqa: S108
        yield re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-"), folder


def _mounts(subject: Subject) -> Iterator[str]:
    yield "volumeMounts:"
    for volume, folder in _folders(subject):
        yield f"  - {{name: {volume}, mountPath: {folder}}}"
    if subject.service.credentials:
        yield f"  - {{name: credentials, mountPath: {_credentials(subject.name)}, readOnly: true}}"


def _volumes(subject: Subject) -> Iterator[str]:
    yield "volumes:"
    for volume, _ in _folders(subject):
        yield f"  - {{name: {volume}, emptyDir: {{}}}}"
    if subject.service.credentials:
        yield f"  - {{name: credentials, secret: {{secretName: {subject.name}-credentials, defaultMode: 0440}}}}"


def _creating(subject: Subject) -> Iterator[str]:
    """How secrets come to the cluster: never from these files, never in a command line."""
    name = subject.name
    namespace = f"{name}-staging"
    yield "kubectl apply --filename overlays/staging/namespace.yaml"
    yield f"kubectl --namespace {namespace} create secret generic {name}-env --from-env-file=env    # NAME=value lines"
    if subject.service.credentials:
        listed = " ".join(f"--from-file={one}=credentials/{one}" for one in subject.service.credentials)
        yield f"kubectl --namespace {namespace} create secret generic {name}-credentials {listed}"


def _state(subject: Subject) -> str:
    folders = ", ".join(f"`{folder}`" for _, folder in _folders(subject))
    return (
        f"{folders} are empty for each pod (`emptyDir`). Replace the volume by a claim for state that has to last. An "
        "image that no registry has is brought there with `release publish`, or `skopeo copy` from the archive."
    )
