"""What a format is: two methods, one that makes its artifacts from the stage, one that reads them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Artifact, ArtifactKind, Contents, Format
    from buildonce.protocols import Runner
    from buildonce.stage import Stage
    from buildonce.system.store import Store

__all__ = ["Builder"]


class Builder(Protocol):
    """A format. One contract suite runs against every builder (``tests/contract``)."""

    format: Format
    kinds: tuple[ArtifactKind, ...]

    def build(self, stage: Stage, into: Path, runner: Runner) -> tuple[Artifact, ...]:
        """Write the artifacts into the folder *into*, under their final names. *runner* is the target's build root."""
        ...

    def read(
        self, artifact: Path, kind: ArtifactKind, *, name: str, interpreter: str, store: Store | None = None
    ) -> Contents:
        """Open a finished artifact and list what it installs and carries. Trusts nothing but the bytes.

        *name* is the project's (its prefix is ``/opt/venvs/<name>``), *interpreter* the target's Python (any
        target's for the wheel and the sdist, which are the same for all: it says where modules go). With *store*,
        a part of it whose bytes were read before, as their digest tells, is not unpacked again.
        Raises :class:`buildonce.errors.VerificationError` when the artifact cannot be read as its format.
        """
        ...
