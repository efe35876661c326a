"""Which release is started, and which of its artifacts: verified as whoever deploys it to production does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from buildonce import verification
from buildonce.deployment import built
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.system import images

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import Artifact, Target
    from buildonce.project import Project
    from buildonce.publishers import Means

__all__ = ["FORMS", "Chosen", "Form", "choose"]

Form = Literal["oci", "deb", "pex"]
FORMS: Final[tuple[Form, ...]] = ("oci", "deb", "pex")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A verified release, and the artifact of it that runs here."""

    folder: Path
    said: Manifest
    form: Form
    artifact: Artifact
    target: Target

    @property
    def version(self) -> str:
        """PEP 440."""
        return self.said.version.pep440

    @property
    def file(self) -> Path:
        """The artifact."""
        return self.folder / self.artifact.file


def choose(project: Project, what: str, form: Form | None, means: Means) -> Chosen:
    """The release that *what* names, a version or a folder, or without it the newest that was built here.

    Without a *form* it is the first of :data:`FORMS` that the release has. Raises
    :class:`buildonce.errors.VerificationError` unless every byte is as a trusted key signed it.
    """
    folder = built.find(project, what)
    said = verification.verify(folder, means.trusted, means.system).manifest
    if said.name != project.name:
        raise ConfigurationError(
            f"this is a release of {said.name}, not of {project.name}", where=str(folder), hint="run it in its project"
        )
    machine = images.machine()
    wanted = (form,) if form else FORMS
    for kind in wanted:
        fitting = (one for one in said.artifacts if one.kind == kind)
        for artifact in sorted(fitting, key=lambda one: _order(project, one.target)):
            target = said.built(artifact.target).target
            if target.machine == machine:
                return Chosen(folder=folder, said=said, form=kind, artifact=artifact, target=target)
    raise ReleaseError(
        f"the release has no {' or '.join(wanted)} for {machine}, the Docker engine's machine",
        where=str(folder),
        hint="build it with that format and a target of that architecture",
    )


def _order(project: Project, target: str) -> int:
    """Targets in the order in which the project names them."""
    names = list(project.settings.targets)
    return names.index(target) if target in names else len(names)
