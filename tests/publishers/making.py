"""Makes releases of debs alone, of any version and for any Debian releases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buildonce import manifest
from buildonce.manifest import Built
from buildonce.model import Artifact, Digest, Tree
from buildonce.publishers import Outgoing
from buildonce.signing import sums
from buildonce.system import files
from buildonce.version import spell
from tests import small_release
from tests.debs import making as debs

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Target, Version

__all__ = ["BOOKWORM", "BOOKWORM_ARM64", "TRIXIE", "release"]

BOOKWORM = small_release.target()
BOOKWORM_ARM64 = replace(small_release.target("debian-12-arm64"), architecture="arm64", revision="+deb12")
TRIXIE = small_release.target("debian-13", "3.13.5", "trixie")


def release(folder: Path, version: str = "1.0", *targets: Target, content: str = "") -> Outgoing:
    """A release in the new *folder*; *content* makes its debs other ones."""
    folder.mkdir(parents=True)
    spelled = spell(version)
    chosen = targets or (BOOKWORM,)
    made = manifest.make(
        name="tinyapp",
        version=spelled,
        source=small_release.SOURCE,
        locks=small_release.LOCKS,
        targets=[Built(target=one, tree=Tree(entries=()), stage=small_release.digest("stage")) for one in chosen],
        artifacts=[_deb(folder, spelled, one, content) for one in chosen],
        tools=small_release.TOOLS,
    )
    (folder / manifest.FILE).write_bytes(made)
    listing = sums.sums(folder)
    (folder / sums.FILE).write_bytes(listing)
    (folder / f"{sums.FILE}.asc").write_text("a signature, made anew each time\n")
    return Outgoing(
        folder=folder,
        manifest=manifest.read(made),
        files=sums.read(listing),
        digest=files.sha256_bytes(listing),
    )


def _deb(folder: Path, version: Version, target: Target, content: str) -> Artifact:
    path = folder / f"tinyapp_{version.deb(target)}_{target.architecture}.deb"
    fields = {
        "Package": "tinyapp",
        "Version": version.deb(target),
        "Architecture": target.architecture,
        "Maintainer": "Ada Lovelace <ada@example.org>",
        "Description": "A tiny application for tests.\n For apt.",
    }
    text = f"{version.pep440} {target.name} {content}\n"
    debs.make(path, [debs.file("./usr/share/tinyapp", text.encode())], fields=fields)
    made = Artifact(kind="deb", path=path, sha256=Digest(""), size=0, target=target.name)
    return small_release.described(made, path)
