"""The format "oci": an image assembled without a daemon, in one archive that docker, podman and skopeo load.

Layers from what changes seldom to what changes with every commit: the distribution's libraries, the
interpreter, each heavy dependency, the other dependencies, the application. Reference: OCI image
specification 1.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from buildonce.errors import VerificationError
from buildonce.model import Artifact, ArtifactKind, Contents, Format, Tree
from buildonce.oci import application, base, configuration, foreign, index, layers, layout, reading, rules
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from buildonce.model import Entry
    from buildonce.protocols import Runner
    from buildonce.stage import Stage
    from buildonce.system.store import Store

__all__ = ["OciBuilder", "join", "joined"]

_ANNOTATION: Final = "org.opencontainers.image."


class OciBuilder:
    """Makes and reads ``<name>-<version>-<target>.oci.tar``."""

    format: Format = "oci"
    kinds: tuple[ArtifactKind, ...] = ("oci", "oci-index")

    def build(self, stage: Stage, into: Path, runner: Runner) -> tuple[Artifact, ...]:
        """Write the archive into *into*. Layers that were packed before come from the store.

        Raises :class:`BuildError` when an OS package or a library is not in the lock, and
        :class:`buildonce.errors.ConfigurationError` when nothing says what the image runs or its base image
        cannot be used.
        """
        image, meant = _assemble(stage, runner)
        path = into / f"{stage.project.name}-{stage.version.pep440}-{stage.target.name}.oci.tar"
        layout.write(path, image)
        return (
            Artifact(
                kind="oci",
                path=path,
                sha256=files.sha256_file(path),
                size=path.stat().st_size,
                target=stage.target.name,
                extras=meant,
            ),
        )

    def read(
        self,
        artifact: Path,
        kind: ArtifactKind,
        *,
        name: str,  # noqa: ARG002
        interpreter: str,
        store: Store | None = None,
    ) -> Contents:
        """Every file and link of the container, its special folders, and its configuration as
        ``image:config``. Of an index: the same of every image below the name of its target, and its manifest.

        Raises :class:`VerificationError` that names the blob or the file that is not what it should be.
        """
        if kind == "oci-index":
            return _read_index(artifact, store)
        found = reading.read(artifact, store)
        if interpreter and not any(entry.path == interpreter.lstrip("/") for entry in found.entries):
            raise VerificationError(f"the image has no {interpreter}", where=artifact.name)
        return Contents(name=found.name, version=found.version, entries=found.entries)


def join(images: Sequence[Artifact], into: Path, file: str) -> Artifact:
    """Write the index over *images*, artifacts of the kind ``oci`` for one architecture each, to *into* / *file*."""
    path = into / file
    manifests = index.write(path, {image.target: image.path for image in images})
    size = path.stat().st_size
    return Artifact(kind="oci-index", path=path, sha256=files.sha256_file(path), size=size, extras=manifests)


def joined(artifact: Artifact, images: Iterable[Artifact], trees: Mapping[str, Tree]) -> Tree:
    """What the index *artifact* shows of the *images* of its release, and *trees*, the Trees of their targets."""
    targets = {entry.path.partition("/")[0] for entry in artifact.extras}
    shown = (
        replace(entry, path=f"{image.target}/{entry.path}")
        for image in images
        if image.kind == "oci" and image.target in targets
        for entry in (*trees[image.target].entries, *image.extras)
    )
    return Tree(entries=tuple(sorted(shown)))


def _read_index(artifact: Path, store: Store | None) -> Contents:
    found = index.read(artifact, store)
    entries = [one.manifest for one in found]
    entries += [replace(e, path=f"{one.target}/{e.path}") for one in found for e in one.image.entries]
    first = found[0].image
    return Contents(name=first.name, version=first.version, entries=tuple(sorted(entries)))


def _assemble(stage: Stage, runner: Runner) -> tuple[layout.Image, tuple[Entry, ...]]:
    """The image, and what it is meant to show beside the Tree."""
    store, project = stage.store, stage.project
    given = foreign.read(project.settings.image.base, project.root, stage.target, store)
    below = () if given else base.plans(stage.runtime, rules=rules.read(), target=stage.target, runner=runner)
    share = application.Share(
        name=project.name, prefix=stage.prefix, own=stage.own.name, tree=stage.tree, root=stage.tree_root
    )
    extras = application.extras(project.settings.service, project.name, stage.path / "sbom.cdx.json")
    packed = layers.pack_all((*below, *application.plans(share, extras)), store)
    seen = given.entries if given else tuple(e for layer in packed[: len(below)] for e in layer.entries)
    process = application.process(
        share,
        settings=project.settings,
        scripts=stage.scripts,
        interpreter=stage.target.interpreter,
        environment=given.environment if given else {},
        has_tini=any(entry.path == application.TINI for entry in seen),
        labels=_labels(stage, given),
    )
    container = configuration.container(process)
    stack = (*(given.layers if given else ()), *packed)
    image = layout.Image(
        reference=f"{project.name}:{stage.version.oci}",
        config=configuration.document(container, stack, debian=stage.target.architecture, epoch=stage.source.epoch),
        layers=stack,
        annotations=process.labels,
    )
    return image, tuple(sorted((*seen, *layers.entries_of(extras), reading.config_entry(container))))


def _labels(stage: Stage, given: foreign.Base | None) -> dict[str, str]:
    """The annotations of the specification, which are also the labels; only what is known."""
    project, urls = stage.project, {key.lower(): value for key, value in stage.project.urls}
    known = {
        "authors": ", ".join(project.authors),
        "created": configuration.timestamp(stage.source.epoch),
        "description": project.summary,
        "documentation": urls.get("documentation", ""),
        "licenses": project.license,
        "revision": stage.source.commit,
        "source": stage.source.url,
        "title": project.name,
        "url": urls.get("homepage", ""),
        "version": stage.version.pep440,
        "base.digest": f"sha256:{given.digest}" if given else "",
        "base.name": given.name if given else "",
    }
    return {f"{_ANNOTATION}{key}": value for key, value in known.items() if value}
