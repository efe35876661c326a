"""What a recipe is rendered from: the project's settings, and a release that was verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.oci import layout, reading
from buildonce.oci.blobs import Blobs
from buildonce.units import Facts

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import ArtifactKind, Target
    from buildonce.project import Project
    from buildonce.service import Service

__all__ = ["Image", "Subject"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image of the release, or an index of several. Digests are written as ``sha256:<64 digits>``."""

    target: Target  # of an index: one of its targets
    file: str
    digest: str  # of the manifest or the index: what a registry calls it
    config: str  # of the configuration: what an engine calls it; "" for an index


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The service of *project* in the version that *manifest* tells of; *folder* is the release's."""

    project: Project
    manifest: Manifest
    folder: Path
    target: str = ""  # the only one to render for, when a recipe is for one

    @property
    def name(self) -> str:
        """The name of the release."""
        return self.project.name

    @property
    def version(self) -> str:
        """Its version, as PEP 440 spells it."""
        return self.manifest.version.pep440

    @property
    def service(self) -> Service:
        """Its settings. Raises :class:`ConfigurationError` for a project that is no service, or has no port."""
        found = self.project.settings.service
        if found is None or found.port is None:
            raise ConfigurationError(
                "there is no recipe for what has no port and no health check: nobody could tell whether it works",
                where="pyproject.toml: tool.release.service",
                hint='add [tool.release.service] with command = "…", port = 8000 and health = "/health"',
            )
        return found

    @property
    def url(self) -> str:
        """Where the service says on its own host that it is well."""
        return f"http://127.0.0.1:{self.service.port}{self.service.health}"

    @property
    def env(self) -> str:
        """A file of settings for those that take a value as it stands: podman, compose, kubectl."""
        rows = (f"#{key}={value}\n" for key, value in sorted(self.service.environment.items()))
        return f"# Settings and secrets of {self.name}: one NAME=value a line, without quotes.\n{''.join(rows)}"

    def facts(self, image: str = "") -> Facts:
        """What units say of it."""
        return Facts.of(self.project, image=image)

    def rows(self, kind: ArtifactKind) -> list[str]:
        """The artifacts of *kind*, a line each: distribution, release, architecture, interpreter, sha256, file."""
        found = ((one, self.manifest.built(one.target).target) for one in self.manifest.artifacts if one.kind == kind)
        return [
            f"{t.distribution} {t.release} {t.architecture} {t.interpreter} {one.sha256} {one.file}" for one, t in found
        ]

    def image(self) -> Image:
        """The image for one host. Raises :class:`ReleaseError` when the release has none, or several could be meant."""
        found = {one.target: one for one in self.manifest.artifacts if one.kind == "oci"}
        wanted = [name for name in found if self.target in ("", name)]
        if not found or not wanted:
            raise ReleaseError(
                f"the release has no image for {self.target}" if found else "the release has no image",
                where=str(self.folder),
                hint=f"it has images for {', '.join(found)}" if found else 'add "oci" to formats and build again',
            )
        if len(wanted) > 1:
            raise ReleaseError(
                f"the release has images for {', '.join(wanted)}",
                where=str(self.folder),
                hint=f"say which one is meant: --target {wanted[0]}",
            )
        artifact = found[wanted[0]]
        described, manifest = reading.top(Blobs(self.folder / artifact.file), layout.MANIFEST_TYPE)
        return Image(
            target=self.manifest.built(artifact.target).target,
            file=artifact.file,
            digest=described.text("digest"),
            config=manifest.fields("config").text("digest"),
        )

    def image_of_all(self) -> Image:
        """The index over the images of all architectures when there is one; else :meth:`image`."""
        indexes = [one for one in self.manifest.artifacts if one.kind == "oci-index"]
        if self.target or len(indexes) != 1:
            return self.image()
        described, _ = reading.top(Blobs(self.folder / indexes[0].file), layout.INDEX_TYPE)
        member = indexes[0].extras[0].path.partition("/")[0]
        return Image(
            target=self.manifest.built(member).target, file=indexes[0].file, digest=described.text("digest"), config=""
        )

    def repository(self) -> str:
        """The image in a registry, ``host/team/name``: the project's first destination of that type; or ``""``."""
        for destination in self.project.settings.publish.values():
            if destination.type == "registry":
                return destination.image.partition("://")[2]
        return ""
