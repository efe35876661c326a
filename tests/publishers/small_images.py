"""A small signed release that has images: of one architecture, or of two with an index over them."""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import TYPE_CHECKING

from buildonce import manifest, provenance, publishing, sbom
from buildonce.manifest import Built
from buildonce.model import Artifact, Digest
from buildonce.oci import configuration, index, layers, layout
from buildonce.oci.configuration import Process
from buildonce.signing import release as releases
from buildonce.signing import sums
from buildonce.system import files
from buildonce.system.archive import Member
from buildonce.system.store import Store
from tests import small_release
from tests.small_release import EPOCH, LOCKS, SOURCE, TOOLS, VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key

__all__ = ["BASE_SIZE", "release"]

BASE_SIZE = 300_000
ARCHITECTURES = {"debian-12": "amd64", "debian-12-arm64": "arm64", "debian-13": "amd64"}
_LABELS = {layout.TITLE: "tinyapp", layout.VERSION: VERSION.pep440}


def release(
    folder: Path, key: Key, *, application: bytes = b"one", several: bool = False, distributions: bool = False
) -> Outgoing:
    """A release in *folder*/tinyapp whose application layer holds *application*.

    Of *several* architectures, which an index joins, or of two *distributions*.

    With another *application* all artifacts have other bytes.
    """
    names = ["debian-12", *(["debian-12-arm64"] if several else []), *(["debian-13"] if distributions else [])]
    made = folder / "tinyapp"
    made.mkdir(parents=True)
    others = small_release.artifacts(made)
    if application != b"one":
        others = tuple(_longer(one) for one in others)
    artifacts = [*others, *(_image(made, name, application) for name in names)]
    if several:
        artifacts.append(_index(made, names))
    stages = [
        small_release.stage(
            folder / name, on=dataclasses.replace(small_release.target(name), architecture=ARCHITECTURES[name])
        )
        for name in names
    ]
    bill = sbom.make(stages, tool_version="0.1.0")
    (made / sbom.FILE).write_bytes(bill)
    (made / manifest.FILE).write_bytes(
        manifest.make(
            name="tinyapp",
            version=VERSION,
            source=SOURCE,
            locks=LOCKS,
            targets=[Built(target=one.target, tree=one.tree, stage=one.digest) for one in stages],
            artifacts=artifacts,
            tools=TOOLS,
        )
    )
    (made / provenance.FILE).write_bytes(
        provenance.make(
            stages,
            artifacts=artifacts,
            locks=LOCKS,
            build=[small_release.build_requirement()],
            tools=TOOLS,
            byproducts={sbom.FILE: files.sha256_bytes(bill)},
        )
    )
    (made / "log").mkdir()
    (made / sums.FILE).write_bytes(sums.sums(made))
    releases.sign(made, key)
    return publishing.outgoing(made, releases.verify(made, [key.public]))


def _longer(artifact: Artifact) -> Artifact:
    artifact.path.write_bytes(artifact.path.read_bytes() + b"!")
    return small_release.described(artifact, artifact.path)


def _image(folder: Path, target: str, application: bytes) -> Artifact:
    path = folder / f"tinyapp-{VERSION.pep440}-{target}.oci.tar"
    store = Store(folder.parent / "store")
    contents = {  # random bytes do not get smaller
        "base": [Member(path="usr/lib/libc.so.6", source=random.Random(1).randbytes(BASE_SIZE))],
        "application": [Member(path="opt/venvs/tinyapp/app.py", source=application + target.encode())],
    }
    plans = [
        layers.LayerPlan(title=title, key=files.sha256_bytes(repr(members).encode()), members=_given(members))
        for title, members in contents.items()
    ]
    packed = [layers.pack(plan, store) for plan in plans]
    container = configuration.container(Process(entrypoint=("/bin/tinyapp",), environment={}, labels=_LABELS))
    image = layout.Image(
        reference=f"tinyapp:{VERSION.oci}",
        config=configuration.document(container, packed, debian=ARCHITECTURES[target], epoch=EPOCH),
        layers=packed,
        annotations=_LABELS,
    )
    layout.write(path, image)
    return small_release.described(
        Artifact(kind="oci", path=path, sha256=Digest(""), size=0, target=target, extras=()), path
    )


def _given(members: list[Member]) -> functools.partial[list[Member]]:
    return functools.partial(_members, members)


def _members(members: list[Member], _: Path) -> list[Member]:
    return members


def _index(folder: Path, targets: list[str]) -> Artifact:
    path = folder / f"tinyapp-{VERSION.pep440}-debian-12.index.oci.tar"
    archives = {name: folder / f"tinyapp-{VERSION.pep440}-{name}.oci.tar" for name in targets}
    extras = index.write(path, archives)
    return small_release.described(
        Artifact(kind="oci-index", path=path, sha256=Digest(""), size=0, extras=extras), path
    )
