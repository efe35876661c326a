"""The manifest, ``release.json``: one statement that binds every artifact, the source, the locks, the targets
and their Trees.

An in-toto Statement v1 with the release predicate v0.1 (in-toto/attestation), in canonical JSON, so that its
bytes are the payload that is signed. It holds each Tree and each artifact's extras as rows, so that artifacts
are compared with it without the sources. Described field by field in ``docs/reference/manifest.md``.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeGuard, cast, get_args

from buildonce import purl, statement
from buildonce.model import Artifact, ArtifactKind, Digest, Entry, EntryKind, Source, Target, Tree, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from buildonce.system.canonical import Fields

__all__ = ["FILE", "Built", "Manifest", "make", "read"]

FILE: Final = "release.json"

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_KINDS: Final = frozenset(get_args(EntryKind))
_ALL_BITS: Final = 0o7777


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """One target of the release: what was installed there and the digest of all that it was made from."""

    target: Target
    tree: Tree
    stage: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A release, as its manifest tells it. ``data`` is the bytes it was read from: what was signed."""

    name: str
    distribution: str  # the name of the project's own wheel; differs from name only when the user said so
    version: Version
    source: Source  # without changes
    locks: Mapping[str, Digest]
    targets: tuple[Built, ...]  # sorted by name
    artifacts: tuple[Artifact, ...]  # sorted by file; ``path`` is the file name
    tools: Mapping[str, str]
    data: bytes = field(repr=False)

    def built(self, target: str) -> Built:
        """The facts of *target*; any target's for ``""``, an artifact that is the same for all."""
        return next(built for built in self.targets if target in ("", built.target.name))


def make(
    *,
    name: str,
    distribution: str = "",
    version: Version,
    source: Source,
    locks: Mapping[str, Digest],
    targets: Sequence[Built],
    artifacts: Sequence[Artifact],
    tools: Mapping[str, str],
) -> bytes:
    """The manifest's bytes. *locks* maps a lock's file name to its sha256, *tools* a tool that decides bytes
    to its version.
    """
    targets = sorted(targets, key=lambda built: built.target.name)
    return statement.make(
        statement.RELEASE,
        statement.subjects(artifacts),
        {
            "purl": str(purl.pypi(distribution or name, version.pep440)),
            "name": name,
            "version": {"pep440": version.pep440, "debian": version.debian, "oci": version.oci},
            "source": {
                "commit": source.commit,
                "tree": source.tree,
                "epoch": source.epoch,
                "tag": source.tag,
                "url": source.url,
                "dirty": source.dirty or "",
                **({"folder": source.folder} if source.folder else {}),
            },
            "locks": dict(locks),
            "tools": dict(tools),
            "targets": [{**_target_facts(b.target), "deb": version.deb(b.target), "stage": b.stage} for b in targets],
            "trees": {b.target.name: {"digest": b.tree.digest, "entries": _rows(b.tree.entries)} for b in targets},
            "artifacts": [
                {
                    "kind": artifact.kind,
                    "file": artifact.file,
                    "sha256": artifact.sha256,
                    "size": artifact.size,
                    "target": artifact.target,
                    "extras": _rows(artifact.extras),
                }
                for artifact in sorted(artifacts, key=lambda artifact: artifact.file)
            ],
        },
    )


def read(data: bytes, *, where: str = FILE) -> Manifest:
    """The manifest in *data*, every field checked. Says nothing about who made it: see
    :mod:`buildonce.signing.release`.

    Raises :class:`VerificationError` that names the place in the file.
    """
    said = statement.read(data, where=where, predicate_type=statement.RELEASE)
    fields = said.predicate.only("purl", "name", "version", "source", "locks", "tools", "targets", "trees", "artifacts")
    name, version = fields.text("name"), _version(fields.fields("version"))
    if not _NAME.fullmatch(name):
        raise fields.wrong("name", f"is not a normalised name: {name[:80]!r}")
    distribution = _distribution(fields, version)
    targets = _targets(fields, version)
    artifacts = tuple(_artifact(one, targets) for one in fields.objects("artifacts"))
    if statement.subjects(artifacts) != said.subjects or len(artifacts) != len(said.subjects):
        raise fields.wrong("artifacts", "are not the subjects of the statement")
    return Manifest(
        name=name,
        distribution=distribution,
        version=version,
        source=_source(fields.fields("source")),
        locks=_digests(fields.fields("locks")),
        targets=targets,
        artifacts=artifacts,
        tools={key: fields.fields("tools").text(key) for key in fields.fields("tools").value},
        data=data,
    )


def _distribution(fields: Fields, version: Version) -> str:
    """The name in the purl, which has to be the one way to write it."""
    name = fields.text("purl").removeprefix("pkg:pypi/").partition("@")[0]
    if not _NAME.fullmatch(name):
        raise fields.wrong("purl", "is not pkg:pypi/<name>@<version>")
    fields.one_of("purl", str(purl.pypi(name, version.pep440)))
    return name


def _version(fields: Fields) -> Version:
    fields.only("pep440", "debian", "oci")
    return Version(pep440=fields.text("pep440"), debian=fields.text("debian"), oci=fields.text("oci"))


def _source(fields: Fields) -> Source:
    fields.only("commit", "tree", "epoch", "tag", "url", "dirty", *({"folder"} & fields.value.keys()))
    folder = fields.text("folder") if "folder" in fields.value else ""
    if "folder" in fields.value and not _is_inside(folder):
        raise fields.wrong("folder", "does not lead into the repository")
    for key in ("commit", "tree"):
        if not _COMMIT.fullmatch(fields.text(key)):
            raise fields.wrong(key, "is not a git object name of 40 hexadecimal digits")
    return Source(
        commit=fields.text("commit"),
        tree=fields.text("tree"),
        epoch=fields.count("epoch"),
        tag=fields.text("tag"),
        url=fields.text("url"),
        dirty=statement.digest(fields, "dirty") if fields.text("dirty") else None,
        folder=folder,
    )


def _digests(fields: Fields) -> dict[str, Digest]:
    return {key: statement.digest(fields, key) for key in fields.value}


def _target_facts(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "distribution": target.distribution,
        "release": target.release,
        "codename": target.codename,
        "architecture": target.architecture,
        "machine": target.machine,
        "multiarch": target.multiarch,
        "glibc": list(target.glibc),
        "glibcxx": list(target.glibcxx),
        "cxxabi": list(target.cxxabi),
        "python": target.python,
        "interpreter": str(target.interpreter),
        "toolchain": list(target.toolchain),
        "runtime": list(target.runtime),
        "revision": target.revision,
        "units": str(target.units),
        "alternatives": [list(pair) for pair in target.alternatives],
        **({"libraries": list(target.libraries)} if target.libraries else {}),
        **({"build_on": _target_facts(target.build_on)} if target.build_on else {}),
    }


def _target(fields: Fields) -> Target:
    glibc = _numbers(fields, "glibc")
    if len(glibc) != 2:
        raise fields.wrong("glibc", "has to be two whole numbers")
    pairs = fields.items("alternatives")
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(part, str) for part in p) for p in pairs):
        raise fields.wrong("alternatives", "has to be pairs of strings")
    return Target(
        name=fields.text("name"),
        distribution=fields.text("distribution"),
        release=fields.text("release"),
        codename=fields.text("codename"),
        architecture=fields.text("architecture"),
        machine=fields.text("machine"),
        multiarch=fields.text("multiarch"),
        glibc=glibc,
        glibcxx=_numbers(fields, "glibcxx"),
        cxxabi=_numbers(fields, "cxxabi"),
        python=fields.text("python"),
        interpreter=PurePosixPath(fields.text("interpreter")),
        toolchain=fields.texts("toolchain"),
        runtime=fields.texts("runtime"),
        revision=fields.text("revision"),
        units=PurePosixPath(fields.text("units")),
        alternatives=tuple((left, right) for left, right in cast("list[list[str]]", pairs)),
        libraries=fields.texts("libraries") if "libraries" in fields.value else (),
        build_on=_builder(fields.fields("build_on")) if "build_on" in fields.value else None,
    )


def _numbers(fields: Fields, key: str) -> tuple[int, ...]:
    found = fields.items(key)
    if not all(map(_is_count, found)):
        raise fields.wrong(key, "has to be whole numbers")
    return cast("tuple[int, ...]", tuple(found))


def _builder(fields: Fields) -> Target:
    if "build_on" in fields.value:
        raise fields.wrong("build_on", "names a target that is built on another")
    found = _target(fields)
    fields.only(*_target_facts(found))
    return found


def _targets(fields: Fields, version: Version) -> tuple[Built, ...]:
    trees = fields.fields("trees")
    found: list[Built] = []
    for one in fields.objects("targets"):
        target = _target(one)
        one.only(*_target_facts(target), "deb", "stage").one_of("deb", version.deb(target))
        planted = trees.fields(target.name).only("digest", "entries")
        tree = Tree(entries=_entries(planted, "entries"))
        planted.one_of("digest", tree.digest)
        found.append(Built(target=target, tree=tree, stage=statement.digest(one, "stage")))
    names = [built.target.name for built in found]
    if not names or names != sorted(trees.value):
        raise fields.wrong("targets", "and trees have to name the same targets, each once, sorted")
    return tuple(found)


def _artifact(fields: Fields, targets: Iterable[Built]) -> Artifact:
    fields.only("kind", "file", "sha256", "size", "target", "extras")
    return Artifact(
        kind=cast("ArtifactKind", fields.one_of("kind", *get_args(ArtifactKind))),
        path=Path(statement.file_name(fields, "file")),
        sha256=statement.digest(fields, "sha256"),
        size=fields.count("size"),
        target=fields.one_of("target", "", *(built.target.name for built in targets)),
        extras=_entries(fields, "extras"),
    )


def _rows(entries: Iterable[Entry]) -> list[list[str | int]]:
    return [[e.path, e.kind, e.mode, e.size, e.sha256, e.link, e.dist] for e in sorted(entries)]


def _entries(fields: Fields, key: str) -> tuple[Entry, ...]:
    found = tuple(_entry(row, fields, f"{key}[{number}]") for number, row in enumerate(fields.items(key)))
    paths = [entry.path for entry in found]
    if any(after <= before for before, after in itertools.pairwise(paths)):
        raise fields.wrong(key, "have to be sorted by path, each path once")
    return found


def _entry(row: object, fields: Fields, key: str) -> Entry:
    match row:
        case [str(path), str(kind), mode, size, str(sha256), str(link), str(dist)] if (
            kind in _KINDS
            and _is_count(mode)
            and mode <= _ALL_BITS
            and _is_count(size)
            and _is_inside(path.removesuffix("/") if kind == "folder" else path)
            and _has_content(kind, sha256, link)
        ):
            return Entry(
                path=path,
                kind=cast("EntryKind", kind),
                mode=mode,
                size=size,
                sha256=Digest(sha256),
                link=link,
                dist=dist,
            )
        case _:
            raise fields.wrong(key, "is not [path, kind, mode, size, sha256, link, dist]")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0  # JSON's true is not 1, but Python's is


def _is_inside(path: str) -> bool:
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _has_content(kind: str, sha256: str, link: str) -> bool:
    if kind == "folder":
        return not link and not sha256
    return bool(link) and not sha256 if kind == "link" else not link and statement.is_digest(sha256)
