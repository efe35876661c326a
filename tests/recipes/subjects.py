"""What recipes are rendered from, made in a moment: a project, a manifest, and the archive of an empty image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildonce import target as targets
from buildonce.manifest import Built, Manifest
from buildonce.model import Artifact, Digest, Source, Tree, Version
from buildonce.oci import layout
from buildonce.recipes.subject import Subject
from buildonce.system import canonical, files
from tests import small_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import ArtifactKind

__all__ = ["EVERYTHING", "PLAIN", "subject"]

PLAIN: Mapping[str, Any] = {"command": "orders serve", "port": 8000}
EVERYTHING: Mapping[str, Any] = {
    **PLAIN,
    "migrate": "orders-admin migrate --all",
    "health": "/health?full=1",
    "environment": {"COLOUR": "blue", "RATE": "50% of $x"},
    "writable": ["/srv/files"],
    "notify": True,
    "socket": True,
    "credentials": ["db-url", "mail.key"],
    "resources": {"memory": "512M", "tasks": 128, "cpu": "150%"},
}
REGISTRY = {"team": {"type": "registry", "image": "oci://registry.example.org/team/orders"}}


def subject(
    folder: Path,
    service: Mapping[str, Any] | None = PLAIN,
    *,
    kinds: Sequence[ArtifactKind] = ("pex", "wheelhouse", "oci"),
    on: Sequence[str] = ("debian-12",),
    target: str = "",
    **settings: Any,
) -> Subject:
    """A release 1.4.0+b of ``orders`` in *folder*, with artifacts of *kinds* for each target that it is built *on*."""
    said = {"publish": REGISTRY, **settings, **({"service": dict(service)} if service else {})}
    name = str(settings.get("name", "orders"))
    built = tuple(Built(target=targets.load(one), tree=Tree(entries=()), stage=Digest("0" * 64)) for one in on)
    version = Version(pep440="1.4.0+b", debian="1.4.0+b", oci="1.4.0_b")
    artifacts = [_artifact(folder, kind, one, version.pep440) for one in on for kind in kinds]
    manifest = Manifest(
        name=name,
        distribution=name,
        version=version,
        source=Source(commit="1" * 40, tree="2" * 40, epoch=1, tag="", url="", dirty=None),
        locks={},
        targets=built,
        artifacts=tuple(artifacts),
        tools={},
        data=b"",
    )
    project = small_project.project(
        folder,
        name=name,
        summary='Takes "orders", 100% of them.',
        urls=(("Homepage", "https://example.org/orders"),),
        settings=said,
    )
    return Subject(project=project, manifest=manifest, folder=folder, target=target)


def _artifact(folder: Path, kind: ArtifactKind, target: str, version: str) -> Artifact:
    path = folder / f"orders-{version}-{target}.{'oci.tar' if kind == 'oci' else kind}"
    if kind == "oci":
        config = {"architecture": "amd64", "os": "linux", "config": {}, "history": [], "target": target}
        layout.write(path, layout.Image(reference="orders:1.4.0_b", config=config, layers=(), annotations={}))
    else:
        path.write_bytes(canonical.dump([kind, target]))
    digest = files.sha256_file(path)
    return Artifact(kind=kind, path=Path(path.name), sha256=digest, size=path.stat().st_size, target=target)


def with_image_of_its_own(given: Subject) -> Subject:
    """*given*, whose image is made from a base image of the user's."""
    settings = given.project.settings
    image = settings.image.model_copy(update={"base": "base.tar"})
    return replace(given, project=replace(given.project, settings=settings.model_copy(update={"image": image})))
