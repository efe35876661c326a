"""The Docker engine that DOCKER_HOST or the Docker context names, through the ``docker`` package: its images.

What is made there carries the label :data:`LABEL`, of containers and volumes with the :func:`mark` of their maker.
Containers are run by :mod:`buildonce.system.container`.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LABEL",
    "Image",
    "add_image",
    "connected",
    "images",
    "layers",
    "left",
    "mark",
    "memory",
    "remove_image",
    "sweep",
    "version",
]

LABEL: Final = "org.buildonce"

_PATIENCE: Final = 600  # seconds that the engine may take for one answer, such as importing an image


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image with our label."""

    id: str
    tag: str
    size: int
    made: float  # epoch


def version() -> str:
    """What engine answers, and where. Raises :class:`MissingToolError` when none does."""
    with connected() as client:
        return f"{client.version()['Version']} at {client.base_url}"


def memory() -> int:
    """How much memory the engine's machine has, in bytes."""
    with connected() as client:
        return int(client.info()["MemTotal"])


def layers(tag: str) -> tuple[str, tuple[str, ...]] | None:
    """The image's id and its layers' digests (``sha256:…`` of the tars); None when there is no such image."""
    import docker

    with connected() as client:
        try:
            found = client.inspect_image(tag)
        except docker.errors.ImageNotFound:
            return None
        return found["Id"], tuple(found["RootFS"]["Layers"])


def add_image(tag: str, tar: IO[bytes], *, label: str) -> None:
    """Make an image of one layer from a tar, under *tag*, with the label :data:`LABEL` = *label*."""
    repository, _, version = tag.rpartition(":")
    with connected() as client:
        said = client.import_image_from_data(
            tar, repository=repository, tag=version, changes=[f'LABEL {LABEL}="{label}"']
        )
    for line in said.splitlines():
        if error := json.loads(line).get("error"):
            raise BuildError(f"the Docker engine did not take the build root: {error}")


def images(label: str) -> tuple[Image, ...]:
    """All images with the label :data:`LABEL` = *label* that have a name."""
    with connected() as client:
        found = client.images(filters={"label": f"{LABEL}={label}"})
    return tuple(
        Image(id=one["Id"], tag=tag, size=one["Size"], made=one["Created"])
        for one in found
        for tag in sorted(one["RepoTags"] or ())
    )


def remove_image(tag: str) -> bool:
    """Remove an image; False when a container uses it, or it is gone."""
    import docker

    with connected() as client:
        try:
            client.remove_image(tag)
        except docker.errors.APIError:
            return False
    return True


def mark(now: float) -> str:
    """The label's value for what this process makes at *now* (epoch): machine, process id, time."""
    return f"{_machine()}.{os.getpid()}@{now:.0f}"


def left(label: str) -> bool:
    """Whether the process whose :func:`mark` it is is gone. False for another machine's, of which nobody here knows."""
    machine, _, process = label.partition("@")[0].rpartition(".")
    if machine != _machine():
        return False
    with contextlib.suppress(PermissionError):  # somebody else's, and alive
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
    return False


def _machine() -> str:
    """This boot of this machine, and the namespace that process ids are counted in: pid_namespaces(7)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def sweep(older_than: float) -> int:
    """Remove what killed builds left: containers and volumes with our label whose maker is gone.

    Whether that of another machine is gone, nobody here knows: its are removed when they were made before
    *older_than* (epoch). Answers how many containers.
    """
    import docker

    def old(labels: dict[str, str]) -> bool:
        _, marked, made = labels[LABEL].partition("@")  # not marked: somebody else's, of an image of ours
        return bool(marked) and (left(labels[LABEL]) or float(made) < older_than)

    removed = 0
    with connected() as client:
        for one in client.containers(all=True, filters={"label": LABEL}):
            if old(one["Labels"]):
                with contextlib.suppress(docker.errors.NotFound):
                    client.remove_container(one["Id"], force=True, v=True)
                    removed += 1
        for one in client.volumes(filters={"label": LABEL, "dangling": "true"})["Volumes"] or ():
            if old(one["Labels"]):
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_volume(one["Name"])
    return removed


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """A connection to the engine (docker.APIClient).

    Raises :class:`MissingToolError` when none answers, :class:`BuildError` when it fails later.
    """
    import docker
    import requests

    place = _place()
    path = str(place.get("base_url", "")).removeprefix("unix://")
    if path.startswith("/") and not os.access(path, os.R_OK | os.W_OK):
        raise _no_engine("permission denied" if os.path.exists(path) else "no such socket", path)  # noqa: PTH110
    try:
        client = docker.APIClient(version="auto", timeout=_PATIENCE, **place)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise _no_engine(str(error), str(place.get("base_url", ""))) from error
    with contextlib.closing(client):
        try:
            yield client
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise BuildError(f"the Docker engine failed: {error}", hint="see whether `docker info` answers") from error


def _no_engine(why: str, place: str) -> MissingToolError:
    return MissingToolError(
        f"no Docker engine answers: {why}",
        where=place,
        hint="install one (sudo apt-get install docker.io), name another machine's with DOCKER_HOST, or, when "
        "permission is denied, join its group (sudo adduser $USER docker)",
    )


def _place() -> dict[str, Any]:
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    context = ContextAPI.get_current_context()
    return {"base_url": context.Host, "tls": context.TLSConfig or False} if context else {}
