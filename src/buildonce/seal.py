"""Binds the artifacts into one release: SBOM, provenance, manifest, SHA256SUMS, and the signatures over them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from buildonce import manifest, provenance, sbom
from buildonce.signing import keys, release, sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buildonce.lock import Lock
    from buildonce.model import Artifact, Source
    from buildonce.project import Project
    from buildonce.provenance import Mode
    from buildonce.signing import Key
    from buildonce.stage import Stage
    from buildonce.system import System

__all__ = ["Facts", "key", "tools", "write"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All that a release says about itself."""

    project: Project
    source: Source
    lock: Lock
    stages: tuple[Stage, ...]  # one a target
    artifacts: tuple[Artifact, ...]


def key(chosen: str, project: Project, *, home: Path, passphrase: Callable[[], bytes], system: System) -> Key:
    """The signing key: the file *chosen*, else the project's, else this machine's own, made now when there is none."""
    configured = chosen or project.settings.sign.key
    if configured:
        return keys.load(project.root / Path(configured).expanduser(), passphrase)
    found, made = keys.workstation(home)
    if made:
        system.progress.note(f"no signing key is configured: made this machine's own, {home}/{found.name}.key")
    return found


def tools() -> dict[str, str]:
    """What decides the bytes of artifacts on this side of the build root, with its version."""
    return {name: version(name) for name in ("buildonce", "deflate", "installer")}


def _bill(stages: Sequence[Stage], tool_version: str) -> bytes:
    """The bill of materials of the release: with one target, the one that its image carries."""
    if len(stages) == 1:
        return (stages[0].path / sbom.FILE).read_bytes()
    return sbom.make(stages, tool_version=tool_version)


def write(facts: Facts, signer: Key, folder: Path, *, mode: Mode) -> None:
    """Write everything beside the artifacts into *folder*, and sign it. *mode* is the kind of machine this is."""
    stage = facts.stages[0]
    build = {one.file.sha256: one for each in facts.stages for one in facts.lock.build(each.target)}
    used = tools() | {wheel.name: wheel.version for wheel in stage.tools}
    bill = _bill(facts.stages, used["buildonce"])
    files.write_atomically(folder / sbom.FILE, bill)
    said = provenance.make(
        facts.stages,
        artifacts=facts.artifacts,
        locks=facts.lock.files,
        build=build.values(),
        tools=used,
        byproducts={sbom.FILE: files.sha256_bytes(bill)},
    )
    files.write_atomically(folder / provenance.FILE, said)
    bound = manifest.make(
        name=facts.project.name,
        distribution=facts.project.distribution,
        version=stage.version,
        source=facts.source,
        locks=facts.lock.files,
        targets=[manifest.Built(target=s.target, tree=s.tree, stage=s.digest) for s in facts.stages],
        artifacts=facts.artifacts,
        tools=used,
    )
    files.write_atomically(folder / manifest.FILE, bound)
    files.write_atomically(folder / sums.FILE, sums.sums(folder))
    release.sign(folder, signer, mode=mode)
