"""Layers: a tar of files with one constant time, compressed once and kept in the store by the digest of what
is in it.

Format: OCI image specification 1.1, *Image Layer Filesystem Changeset*. Every parent folder is a member of
its own, owned by root, so that a layer means the same on top of any other.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError
from buildonce.model import Digest, Entry
from buildonce.oci.configuration import OURS
from buildonce.system import archive, compress, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from buildonce.system.store import Store

__all__ = [
    "Layer",
    "LayerPlan",
    "entries_of",
    "from_rows",
    "pack",
    "pack_all",
    "plan_tree",
    "rows",
    "special",
    "with_parents",
]

# Part of every key: raise it when the same entries would be written as other bytes.
_FORMAT: Final = "layer 1"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """A layer before it is packed. ``key`` is a digest of everything that decides its bytes.

    ``members`` is called only when the layer is not in the store; the folder it is given is scratch space for
    what it unpacks.
    """

    title: str  # what the history of the image says, behind "buildonce: "
    key: Digest
    members: Callable[[Path], Iterable[archive.Member]]
    expected: Mapping[str, str] = field(default_factory=dict)  # sha256 by path, of files that are known before


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A packed layer: the compressed blob, its digests, and what is in it (files, links, and folders that are
    :func:`special`).
    """

    title: str  # the line of history
    blob: Path
    sha256: Digest  # of the compressed bytes
    size: int
    diff_id: Digest  # of the tar
    entries: tuple[Entry, ...]
    media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip"


def special(mode: int, owner: int) -> bool:
    """Whether a folder is not the ordinary 0755 of root and so is listed, with a ``/`` at the end of its
    path.
    """
    return mode != 0o755 or owner != 0


def plan_tree(title: str, entries: Iterable[Entry], root: Path) -> LayerPlan:
    """A layer of files that lie below *root* at their paths; their bytes are checked against *entries* when
    they are packed.
    """
    wanted = tuple(sorted(entries))

    def members(_: Path) -> Iterable[archive.Member]:
        return [_member(entry, root / entry.path) for entry in wanted]

    return LayerPlan(
        title=title,
        key=_key(title, rows(wanted)),
        members=members,
        expected={entry.path: entry.sha256 for entry in wanted if not entry.link},
    )


def _member(entry: Entry, path: Path) -> archive.Member:
    if entry.link:
        return archive.Member(path=entry.path, mode=0o777, link=entry.link)
    return archive.Member(path=entry.path, mode=entry.mode, source=path)


def _check(plan: LayerPlan, found: Iterable[Entry]) -> None:
    for entry in found:
        if plan.expected.get(entry.path, entry.sha256) != entry.sha256:
            raise BuildError(f"{entry.path} is not the file that was staged", hint="run `release build` again")


def pack(plan: LayerPlan, store: Store) -> Layer:
    """The packed layer, from the store when it was packed before."""

    def make(folder: Path) -> None:
        with files.scratch(store.root, "layer") as scratch:
            members = with_parents(plan.members(scratch))
            listed = sorted(entries_of(members))
            _check(plan, listed)
            diff_id, sha256, size = _write(folder / "layer.tar.gz", members)
        fact = {"diff_id": diff_id, "sha256": sha256, "size": size, "entries": rows(listed)}
        files.write_atomically(folder / "layer.json", json.dumps(fact).encode())

    key = _key(_FORMAT, compress.COMPRESSOR, plan.key)
    folder = store.folder("oci-layer", key, make)
    fact = json.loads((folder / "layer.json").read_bytes())
    return Layer(
        title=f"{OURS}{plan.title}",
        blob=folder / "layer.tar.gz",
        sha256=Digest(fact["sha256"]),
        size=fact["size"],
        diff_id=Digest(fact["diff_id"]),
        entries=from_rows(fact["entries"]),
    )


def pack_all(plans: Sequence[LayerPlan], store: Store) -> tuple[Layer, ...]:
    """Every layer, in the order of *plans*; several at a time: some wait for programs, all compress."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(lambda plan: pack(plan, store), plans))


def _write(path: Path, members: Iterable[archive.Member]) -> tuple[Digest, Digest, int]:
    with path.open("wb") as file:
        packed = _Hashed(file)
        with compress.GzipWriter(packed) as stream:  # type: ignore[arg-type]
            plain = _Hashed(stream)  # type: ignore[arg-type]
            archive.write_tar(plain, members)  # type: ignore[arg-type]
    return plain.digest, packed.digest, packed.size


class _Hashed:
    """A stream to write to that keeps the digest and the number of bytes of what passes."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._hash, self.size = out, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._out.write(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def with_parents(members: Iterable[archive.Member]) -> list[archive.Member]:
    """*members* with a folder 0755 of root for every parent that is not among them.

    Raises :class:`BuildError` when two members have one path, or a file stands where a folder has to be.
    """
    found: dict[str, archive.Member] = {}
    for member in members:
        place = member.path.rstrip("/")
        if place in found:
            raise BuildError(f"two files want the place {place} in the image")
        found[place] = member
    for place in list(found):
        for parent in map(str, PurePosixPath(place).parents[:-1]):
            if not found.setdefault(parent, archive.Member(path=f"{parent}/", mode=0o755)).is_folder:
                raise BuildError(f"{place} lies below {parent}, which is not a folder")
    return sorted(found.values(), key=lambda member: member.path)


def entries_of(members: Iterable[archive.Member]) -> Iterator[Entry]:
    """What an image that holds *members* is expected to show: every file and link, and the special
    folders.
    """
    for member in members:
        if member.is_folder:
            if special(member.mode, member.owner):
                yield Entry(path=member.path, kind="folder", mode=member.mode)
        elif member.link:
            yield Entry(path=member.path, kind="link", mode=0o777, link=member.link)
        else:
            with member.open() as stream:
                sha256 = Digest(hashlib.file_digest(stream, "sha256").hexdigest())  # type: ignore[arg-type]
            yield Entry(path=member.path, mode=member.mode, size=member.size, sha256=sha256)


def rows(entries: Iterable[Entry]) -> list[list[str | int]]:
    """*entries* as JSON, for :func:`from_rows`: what can be seen of a file, without owner and origin."""
    return [[e.path, e.kind, e.mode, e.size, e.sha256, e.link] for e in entries]


def from_rows(found: Iterable[Any]) -> tuple[Entry, ...]:
    """The entries of :func:`rows`."""
    return tuple(
        Entry(path=path, kind=kind, mode=mode, size=size, sha256=Digest(sha256), link=link)
        for path, kind, mode, size, sha256, link in found
    )


def _key(*parts: object) -> Digest:
    return files.sha256_bytes(json.dumps(parts).encode())
