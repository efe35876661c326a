"""The stage: the only folder a builder may read, all of it local, verified and hashed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildonce.model import DebPin, Digest, Source, Target, Tree, Version, Wheel, Wheelhouse
    from buildonce.oci.packages import Package
    from buildonce.project import Project
    from buildonce.system.store import Store

__all__ = ["Stage", "prefix"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Everything that the artifacts of one target are made from.

    ``path`` holds ``wheels/`` (the wheelhouse with the project's own wheel), ``sdist/`` (one file), ``tree/`` (the
    installed files, laid out as from ``/``), ``tools/`` (wheels of the pinned packers) and ``sbom.cdx.json``.
    """

    path: Path
    project: Project
    source: Source
    version: Version
    target: Target
    wheelhouse: Wheelhouse  # includes the project's own wheel
    own: Wheel  # the project's own wheel
    own_target: str  # whose it is; "" when it is that of all targets
    sdist: Path
    tools: tuple[Wheel, ...]  # the packers, locked like everything else
    tree: Tree
    debs: tuple[DebPin, ...]  # the target's locked OS packages
    deb_files: tuple[Path, ...]  # the same, as verified files of the store, in the same order
    runtime: tuple[Package, ...]  # those of them that the application needs to run
    scripts: tuple[str, ...]  # console scripts of the project's own wheel, sorted
    store: Store  # where a builder keeps what it may use again
    digest: Digest
    build_debs: tuple[DebPin, ...] = ()  # the OS packages of the build root, where it is another target's

    @property
    def prefix(self) -> PurePosixPath:
        """Where the application is installed on every host."""
        return prefix(self.project)

    @property
    def tree_root(self) -> Path:
        """The folder whose content is laid out as from ``/``."""
        return self.path / "tree"


def prefix(project: Project) -> PurePosixPath:
    """Where *project* is installed on every host."""
    return PurePosixPath("/opt/venvs") / project.name
