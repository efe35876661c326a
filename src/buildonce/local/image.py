"""Form ``oci``: the release's image in the engine, run as strictly as the production's unit runs it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from buildonce import units
from buildonce.errors import BuildError, VerificationError
from buildonce.local.given import FORM, LOADED, VERSION
from buildonce.needs import APPLICATION
from buildonce.oci import layout, reading
from buildonce.oci.blobs import Blobs
from buildonce.system import images
from buildonce.system.services import LABEL, Service, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.local.given import Given
    from buildonce.system.services import Found

__all__ = ["Image"]

_TASKS: Final = 512  # as the unit says when the project says nothing
_CREDENTIALS: Final = "credentials"
_SIZES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Image:
    """A :class:`buildonce.local.given.Runs`."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._image, self._ours = "", False  # ours: it came with an environment, and goes with it
        self._wanted = _ids(given.chosen.file)

    def prepare(self) -> str:
        """Load the image, and run the migration of the new version, once.

        Raises :class:`VerificationError` when the engine has another image then, :class:`BuildError` with what the
        migration printed.
        """
        progress = self._given.means.system.progress
        progress.step(f"load {self._given.chosen.artifact.file}")
        self._load()
        if self._given.credentials:
            texts = {name: text.encode() for name, text in self._given.credentials.items()}
            self._given.place.fill(_CREDENTIALS, self._image, texts, owner=units.USER)
        if self._given.service.migrate:
            progress.step(f"migrate: {self._given.service.migrate}")
            self._migrate(self._given.service.migrate)
        return self._image

    def keeps(self, running: Found) -> bool:  # noqa: ARG002
        """Never: a new version is a new container."""
        return False

    def start(self) -> Found:
        """Start the application."""
        return self._given.place.start(self._container())

    def told(self, found: Found) -> str:
        """What the container printed."""
        return self._given.place.told(found)

    def abandon(self) -> None:
        """Remove the image, if it came for nothing."""
        if self._ours and (found := self._present()):
            images.remove(found)

    def _load(self) -> None:
        if found := self._present():
            self._image, self._ours = found, images.used(found, f"{LABEL}.fact.{LOADED}")
            return
        self._ours = True
        images.load(self._given.chosen.file)
        self._image = self._present()
        if not self._image:
            raise VerificationError(
                f"the Docker engine made another image of the archive than {self._wanted[0]}",
                where=str(self._given.chosen.file),
            )

    def _present(self) -> str:
        return next((one for one in self._wanted if images.identity(one)), "")

    def _migrate(self, command: str) -> None:
        script, *arguments = shlex.split(command)
        job = replace(
            self._container(),
            role="migration",
            aliases=(),
            entrypoint=(f"/opt/venvs/{self._given.project.name}/bin/{script}",),
            command=tuple(arguments),
        )
        made = self._given.place.start(job)
        if code := self._given.place.wait(made):
            raise BuildError(f"the migration ended with exit code {code}", log=self._given.place.told(made))
        self._given.place.remove(made)

    def _container(self) -> Service:
        """With the limits of the production's unit: :func:`buildonce.units.container`."""
        name, service, resources = self._given.project.name, self._given.service, self._given.service.resources
        folders = dict.fromkeys((f"/var/lib/{name}", *service.writable))
        secrets = f"/run/credentials/{name}"
        told = {"CREDENTIALS_DIRECTORY": secrets} if self._given.credentials else {}
        facts = {FORM: "oci", VERSION: self._given.chosen.version}
        return Service(
            role=APPLICATION,
            image=self._image,
            aliases=(APPLICATION,),
            environment={**self._given.environment, **told},
            volumes=tuple(Volume(role=units.volume(name, folder), place=folder) for folder in folders),
            secrets={secrets: _CREDENTIALS} if told else {},
            strict=True,
            watched=True,
            init=not units.Facts.of(self._given.project).tini,
            tasks=resources.tasks or _TASKS,
            memory=_bytes(resources.memory),
            cpus=float(resources.cpu.removesuffix("%") or 0) / 100,
            facts=facts | ({LOADED: "yes"} if self._ours else {}),
        )


def _ids(archive: Path) -> tuple[str, ...]:
    """What an engine calls the image: the digest of its configuration, or with containerd's store of its manifest."""
    described, manifest = reading.top(Blobs(archive), layout.MANIFEST_TYPE)
    return manifest.fields("config").text("digest"), described.text("digest")


def _bytes(amount: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT])", amount)
    return int(found[1]) * _SIZES[found[2]] if found else 0
