"""A small release without a build: real documents of small real wheels, artifacts of a few bytes."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from buildonce import manifest, provenance, sbom
from buildonce.manifest import Built
from buildonce.model import (
    Artifact,
    Chosen,
    DebPin,
    Digest,
    Entry,
    RemoteFile,
    Source,
    Target,
    Tree,
    Version,
    Wheel,
    Wheelhouse,
)
from buildonce.signing import keys, sums
from buildonce.stage import Stage
from buildonce.system import archive as archives
from buildonce.system import files
from buildonce.system.archive import Member
from buildonce.system.store import Store
from tests import small_project
from tests.debs import making as debs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buildonce.signing import Key

EPOCH = 1_700_000_000
VERSION = Version(pep440="1.2.4.dev5+g1a2b3c4", debian="1.2.4~~dev5+g1a2b3c4", oci="1.2.4.dev5_g1a2b3c4")
SOURCE = Source(
    commit="1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d",
    tree="0d9c8b7a6f5e4d3c2b1a0d9c8b7a6f5e4d3c2b1a",
    epoch=EPOCH,
    tag="v1.2.4",
    url="https://user:secret@git.example.org/team/tinyapp",
    dirty=None,
)
LOCKS = {"pylock.toml": files.sha256_bytes(b"lock"), "pylock.build.toml": files.sha256_bytes(b"build lock")}
TOOLS = {"buildonce": "0.1.0", "pex": "2.105.2"}


def target(name: str = "debian-12", python: str = "3.11.2", codename: str = "bookworm") -> Target:
    """A target that is written here, so that these tests do not change with the ones that ship."""
    release = name.rpartition("-")[2]
    return Target(
        name=name,
        distribution="debian",
        release=release,
        codename=codename,
        architecture="amd64",
        machine="x86_64",
        multiarch="x86_64-linux-gnu",
        glibc=(2, 36),
        python=python,
        interpreter=PurePosixPath(f"/usr/bin/python{'.'.join(python.split('.')[:2])}"),
        toolchain=("build-essential",),
        runtime=("ca-certificates",),
        revision=f"+deb{release}",
        units=PurePosixPath("/usr/lib/systemd/system"),
        alternatives=(("/usr/bin/awk", "mawk"),),
    )


def wheel(into: Path, name: str, version: str, metadata: str = "", *, url: str = "", sdist: str = "") -> Wheel:
    """A wheel that holds its METADATA and nothing else. *sdist* is the URL of what it was compiled from."""
    path = into / f"{name}-{version}-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}"
        archive.writestr(zipfile.ZipInfo(f"{name}-{version}.dist-info/METADATA"), text)
    return Wheel(
        name=name,
        version=version,
        path=path,
        sha256=files.sha256_file(path),
        size=path.stat().st_size,
        url=url,
        sdist=remote(sdist) if sdist else None,
    )


def remote(url: str) -> RemoteFile:
    return RemoteFile(filename=url.rpartition("/")[2], sha256=files.sha256_bytes(url.encode()), size=1, url=url)


def deb(name: str, version: str) -> DebPin:
    file = remote(f"https://debs.example.org/pool/{name}_{version}_amd64.deb")
    return DebPin(name=name, version=version, architecture="amd64", file=file)


def stage(path: Path, *, on: Target | None = None, wheels: Sequence[Wheel] = ()) -> Stage:
    """The stage of ``tinyapp``; only what the documents read is there."""
    on = on or target()
    own = wheel(path, "tinyapp", VERSION.pep440, "Requires-Dist: click\nLicense-Expression: MIT\n")
    house = wheels or (
        wheel(
            path,
            "click",
            "8.1.7",
            "License: BSD-3-Clause\n",
            url="https://pypi.example.org/f/click-8.1.7.whl",
        ),
    )
    entry = Entry(
        path="opt/venvs/tinyapp/bin/tinyapp",
        kind="script",
        mode=0o755,
        size=3,
        sha256=files.sha256_bytes(b"app"),
    )
    return Stage(
        path=path,
        project=small_project.project(path, dependencies=("click",)),
        source=SOURCE,
        version=VERSION,
        target=on,
        wheelhouse=Wheelhouse(target=on, wheels=tuple(sorted((own, *house), key=lambda one: one.name))),
        own=own,
        own_target="",
        sdist=path / "none",
        tools=(wheel(path, "pex", "2.105.2"),),
        tree=Tree(entries=(entry,)),
        debs=(deb("libc6", "2.36-9+deb12u10"),),
        deb_files=(),
        runtime=(),
        scripts=("tinyapp",),
        store=Store(path / "store"),
        digest=files.sha256_bytes(on.name.encode()),
    )


# What a wheel's metadata may say: extras, markers, and licenses in every precision.
WHEELS = {
    "uvicorn": "Requires-Dist: click\nRequires-Dist: httptools; extra == 'standard'\n",
    "click": "License: BSD-3-Clause\nRequires-Dist: colorama; sys_platform == 'win32'\n",
    "httptools": "Classifier: License :: OSI Approved :: MIT License\nClassifier: Topic :: Internet\n",
    "colorama": f"License: {'The text of a license. ' * 20}\n",
    "tomli": "License-Expression: MIT OR Apache-2.0\nSummary: A parser\n",
    "odd": "License-Expression: not (an expression\nRequires-Dist: Tomli; python_version < '3.12'\n",
}


def rich_stage(folder: Path, needs: str, **of: str) -> Stage:
    """The stage of ``tinyapp`` with all of WHEELS; *needs* is its own metadata, *of* changes the target."""
    made = stage(folder, on=target(**of))
    own = wheel(folder / "own", "tinyapp", VERSION.pep440, needs)
    wheels = [
        wheel(folder, name, "1.0", text, url=f"https://user:secret@pypi.example.org/{name}.whl?token=1#x")
        for name, text in WHEELS.items()
    ]
    return with_wheels(made, own, wheels)


def with_wheels(made: Stage, own: Wheel, wheels: Sequence[Wheel]) -> Stage:
    """*made* with another wheelhouse."""
    every = tuple(sorted((own, *wheels), key=lambda one: one.name))
    return dataclasses.replace(made, own=own, wheelhouse=Wheelhouse(target=made.target, wheels=every))


DEB = {
    "Version": f"{VERSION.debian}-1+deb12",
    "Maintainer": "Ada Lovelace <ada@example.org>",
    "Description": "A tiny application for tests.",
}


def artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Three artifacts of a few bytes."""
    pex = Entry(path="__main__.py", mode=0o644, size=4, sha256=files.sha256_bytes(b"main"))
    return (
        _artifact(folder, "wheel", f"tinyapp-{VERSION.pep440}-py3-none-any.whl"),
        _artifact(folder, "pex", f"tinyapp-{VERSION.pep440}-debian-12.pex", "debian-12", (pex,)),
        _artifact(folder, "deb", f"tinyapp_{VERSION.debian}-1+deb12_amd64.deb", "debian-12"),
    )


def for_an_index(folder: Path) -> tuple[Artifact, ...]:
    """A wheel, an sdist, and a wheelhouse with two locked dependencies beside the wheel."""
    name, version = "tinyapp", VERSION.pep440
    own = wheel(folder, name, version, "Requires-Dist: click\nRequires-Dist: colorama\n").path
    sdist = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(sdist, "w:gz") as packed:
        about = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nKeywords: a,b\n".encode()
        info = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        info.size = len(about)
        packed.addfile(info, io.BytesIO(about))
    with files.scratch(folder, "house") as aside:
        others = [wheel(aside, one, "1.0").path for one in ("click", "colorama")]
        house = folder / f"{name}-{version}-debian-12.wheelhouse.tar"
        members = [Member(path=f"wheels/{one.name}", source=one) for one in (own, *others)]
        with house.open("wb") as out:
            archives.write_tar(out, members)
        extras = tuple(
            Entry(path=one.path, mode=0o644, size=one.size, sha256=files.sha256_file(one.source))
            for one in members
            if isinstance(one.source, Path)
        )
    return (
        described(Artifact(kind="wheel", path=own, sha256=Digest(""), size=0), own),
        described(Artifact(kind="sdist", path=sdist, sha256=Digest(""), size=0), sdist),
        described(
            Artifact(kind="wheelhouse", path=house, sha256=Digest(""), size=0, target="debian-12", extras=extras), house
        ),
    )


def _artifact(folder: Path, kind: str, name: str, on: str = "", extras: tuple[Entry, ...] = ()) -> Artifact:
    path = folder / name
    if kind == "wheel":
        wheel(folder, *name.split("-")[:2])
    elif kind == "deb":
        debs.make(path, [debs.file("./usr/share/tinyapp", b"the deb\n")], fields=DEB)
    else:
        path.write_bytes(f"the {kind}\n".encode())
    made = Artifact(kind=kind, path=path, sha256=Digest(""), size=0, target=on, extras=extras)  # type: ignore[arg-type]
    return described(made, path)


def described(artifact: Artifact, path: Path) -> Artifact:
    """*artifact* as the file *path* is."""
    return dataclasses.replace(artifact, path=path, sha256=files.sha256_file(path), size=path.stat().st_size)


def build_requirement() -> Chosen:
    return Chosen(name="hatchling", version="1.33.0", file=remote("https://u:p@pypi.example.org/hatchling-1.33.0.whl"))


def documents(made: Stage, built: Sequence[Artifact]) -> dict[str, bytes]:
    """The three documents of a release of one target."""
    bill = sbom.make([made], tool_version="0.1.0")
    return {
        manifest.FILE: manifest.make(
            name="tinyapp",
            version=VERSION,
            source=SOURCE,
            locks=LOCKS,
            targets=[Built(target=made.target, tree=made.tree, stage=made.digest)],
            artifacts=built,
            tools=TOOLS,
        ),
        sbom.FILE: bill,
        provenance.FILE: provenance.make(
            [made],
            artifacts=built,
            locks=LOCKS,
            build=[build_requirement()],
            tools=TOOLS,
            byproducts={sbom.FILE: files.sha256_bytes(bill)},
        ),
    }


def unsigned(folder: Path, of: Callable[[Path], tuple[Artifact, ...]] = artifacts) -> Path:
    """A whole release in the new folder *folder*, with SHA256SUMS, without signatures; *of* makes its artifacts."""
    folder.mkdir()
    for name, data in documents(stage(folder.parent / "stage"), of(folder)).items():
        (folder / name).write_bytes(data)
    (folder / "log").mkdir()
    (folder / "log" / "build.log").write_text("+ make\n")
    (folder / sums.FILE).write_bytes(sums.sums(folder))
    return folder


def key(folder: Path, name: str = "team") -> Key:
    """A new unprotected key."""
    return keys.new(folder / name, None)


def digest(text: str) -> Digest:
    return files.sha256_bytes(text.encode())
