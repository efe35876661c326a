"""Images of one distribution release for several architectures become one more artifact: an index over them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from buildonce.builders import oci

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.model import Artifact
    from buildonce.stage import Stage
    from buildonce.system import System

__all__ = ["join"]


def join(artifacts: Sequence[Artifact], stages: Sequence[Stage], into: Path, system: System) -> tuple[Artifact, ...]:
    """*artifacts* with an index for every distribution release that has images of several architectures, by file."""
    images = {artifact.target: artifact for artifact in artifacts if artifact.kind == "oci"}
    groups: dict[str, list[Stage]] = defaultdict(list)
    for stage in stages:
        if stage.target.name in images:
            groups[f"{stage.target.distribution}-{stage.target.release}"].append(stage)
    found = list(artifacts)
    for group, members in sorted(groups.items()):
        architectures = {stage.target.architecture for stage in members}
        if len(architectures) > 1 and len(architectures) < len(members):
            system.progress.note(f"no image index for {group}: several of its targets have one architecture")
        elif len(architectures) > 1:
            first = members[0]
            file = f"{first.project.name}-{first.version.pep440}-{group}.index.oci.tar"
            found.append(oci.join([images[stage.target.name] for stage in members], into, file))
    return tuple(sorted(found, key=lambda artifact: artifact.file))
