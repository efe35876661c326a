"""The image of a release in the Docker engine, run as strictly as engines can."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import docker

from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

__all__ = ["loaded", "strictly"]

STRICT: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    # Only how often: what is asked comes from the image.
    "healthcheck": {"interval": 1_000_000_000},
}


@contextlib.contextmanager
def loaded(release: Built, target: str = "") -> Iterator[Any]:
    """What ``docker load`` makes of the archive, until the end of the context."""
    with hosts.engine() as client:
        with release.file("oci", target).open("rb") as stream:
            (image,) = client.images.load(stream)
        try:
            yield image
        finally:
            with contextlib.suppress(docker.errors.ImageNotFound):
                client.images.remove(str(image.id), force=True)


@contextlib.contextmanager
def strictly(image: Any, **options: Any) -> Iterator[Host]:
    """A container that may write nowhere, has no network, no capability and cannot get one."""
    with hosts.running(image.id, **STRICT, **options) as host:
        yield host
