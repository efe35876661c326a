"""Images that the Docker engine gets from archives, or that are made by running scripts in a container of it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError
from buildonce.system import engine
from buildonce.system.engine import LABEL, connected, mark

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HOST", "bake", "identity", "listed", "load", "machine", "remove", "touch", "used"]

HOST: Final = "host"  # the label of images of hosts


def machine() -> str:
    """The architecture of the engine's machine, as its kernel calls it."""
    with connected() as client:
        return str(client.info()["Architecture"])


def identity(image: str) -> str:
    """The ID of the image of that ID or name; "" when the engine has none."""
    import docker

    with connected() as client:
        try:
            return str(client.inspect_image(image)["Id"])
        except docker.errors.ImageNotFound:
            return ""


def touch(tag: str) -> None:
    """Note that the image *tag* is used now: see :func:`listed`."""
    repository, _, version = tag.rpartition(":")
    with connected() as client:
        client.tag(tag, repository, version, force=True)


def listed(label: str) -> tuple[engine.Image, ...]:
    """The images with our *label* that have a name; ``made`` is when one was last made or used."""
    found = []
    for one in engine.images(label):
        with connected() as client:
            said = str(client.inspect_image(one.id).get("Metadata", {}).get("LastTagTime", ""))
        with contextlib.suppress(ValueError):  # RFC 3339 with nanoseconds; year 1 for never
            at = datetime.fromisoformat(f"{said[:19]}+00:00").timestamp()
            one = replace(one, made=max(one.made, at))
        found.append(one)
    return tuple(found)


def load(path: Path) -> None:
    """Give the engine the images of an archive, as ``docker load`` does."""
    with connected() as client, path.open("rb") as stream:
        for line in client.load_image(stream):
            if error := line.get("error"):
                raise BuildError(f"the Docker engine did not take the archive: {error}", where=str(path))


def used(image: str, label: str) -> bool:
    """Whether a container with *label* is of the image of that ID."""
    with connected() as client:
        return bool(client.containers(all=True, filters={"ancestor": image, "label": label}))


def remove(image: str) -> bool:
    """Remove an image with its names; False when a container uses it, or somebody gave it a name more."""
    import docker

    with connected() as client:
        try:
            client.remove_image(image)
        except docker.errors.APIError:
            return False
    return True


def bake(tag: str, base: IO[bytes], more: IO[bytes], script: str, *, label: str, now: float) -> None:
    """Make an image of one layer: of the tar *base*, in which *script* (sh) has worked on what the tar *more* brings.

    The container has no network. Raises :class:`BuildError` with what the script printed.
    """
    with connected() as client, contextlib.ExitStack() as stack:
        passing = _imported(client, base, f"{tag}-base", label)
        stack.callback(client.remove_image, passing, force=True)
        made = client.create_container(
            passing,
            command=["/bin/sh", "-euc", script],
            labels={LABEL: mark(now)},
            host_config=client.create_host_config(network_mode="none"),
            use_config_proxy=False,
        )["Id"]
        stack.callback(client.remove_container, made, force=True, v=True)
        client.put_archive(made, "/", more)
        client.start(made)
        code = client.wait(made)["StatusCode"]
        if code:
            said = client.logs(made, tail=60).decode(errors="replace")
            raise BuildError(f"a host image could not be made: its script ended with exit code {code}", log=said)
        _imported(client, client.export(made, chunk_size=1 << 20), tag, label)


def _imported(client: Any, tar: Any, tag: str, label: str) -> str:
    repository, _, version = tag.rpartition(":")
    said = client.import_image_from_data(tar, repository=repository, tag=version, changes=[f'LABEL {LABEL}="{label}"'])
    if "errorDetail" in said:
        raise BuildError(f"the Docker engine did not take an image: {said.splitlines()[-1]}")
    return tag
