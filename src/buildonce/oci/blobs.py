"""The blobs of an image archive, each checked against the descriptor that refers to it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final, cast

from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.oci import layout, listings
from buildonce.oci.filesystem import Content, read_layer
from buildonce.system import canonical
from buildonce.system.archive import Part

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from buildonce.system.store import Store

__all__ = ["LAYER_TYPES", "Blobs", "place_of"]

# Whether a layer of this media type is gzip.
LAYER_TYPES: Final[Mapping[str, bool]] = {
    "application/vnd.oci.image.layer.v1.tar": False,
    "application/vnd.oci.image.layer.v1.tar+gzip": True,
    "application/vnd.docker.image.rootfs.diff.tar": False,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": True,
}
_MOST_JSON: Final = 4 << 20
_CHUNK: Final = 1 << 20


def place_of(descriptor: canonical.Fields) -> str:
    """Where the blob that *descriptor* refers to is in an archive."""
    digest = descriptor.text("digest")
    if not digest.startswith("sha256:"):
        raise descriptor.wrong("digest", "has to be a sha256")
    return layout.blob_path(digest.removeprefix("sha256:"))


class Blobs:
    """The members of an archive by name, and which of them something refers to."""

    def __init__(self, path: Path, store: Store | None = None) -> None:
        """List the members of the archive at *path*. Raises :class:`VerificationError` when it is not one.

        *store* is where listings of layers are kept.
        """
        self._path, self._store = path, store
        self._used: set[str] = set()
        try:
            with tarfile.open(path, "r:") as archive:
                self._members = self._list(archive)
        except (tarfile.TarError, EOFError) as error:
            raise VerificationError(f"{path.name} is not an image archive: {error}", where=str(path)) from error

    def _list(self, archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
        found: dict[str, tarfile.TarInfo] = {}
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg() or info.name in found:
                raise self.wrong(info.name, "is there twice" if info.name in found else "is not a file")
            found[info.name] = info
        return found

    def at(self, name: str) -> str:
        """The member *name* with the archive it is in, for errors."""
        return f"{self._path.name}: {name}"

    def wrong(self, name: str, message: str) -> VerificationError:
        """The error that says what is wrong with the member *name*."""
        return VerificationError(f"{name} {message}", where=str(self._path))

    def value(self, name: str) -> object:
        """The JSON in the member *name*."""
        info = self._find(name)
        if info.size > _MOST_JSON:
            raise self.wrong(name, f"has {info.size} bytes")
        with self._open(info) as stream:
            return canonical.load(stream.read(), where=self.at(name))

    def json(self, name: str) -> canonical.Fields:
        """The JSON object in the member *name*."""
        return canonical.Fields.of(self.value(name), self.at(name))

    def described(self, descriptor: canonical.Fields, *media_types: str) -> canonical.Fields:
        """The JSON object that *descriptor* refers to, its digest and size checked."""
        descriptor.one_of("mediaType", *media_types)
        place = place_of(descriptor)
        self._same(descriptor, self._digest(place), self._find(place).size)
        return self.json(place)

    def _digest(self, place: str) -> Digest:
        with self._open(self._find(place)) as stream:
            return Digest(hashlib.file_digest(stream, "sha256").hexdigest())

    def layers(self, descriptors: Sequence[canonical.Fields], foreign: Sequence[bool]) -> tuple[Content, ...]:
        """Every layer, read and checked; several at a time, since hashing and unpacking let go of the
        interpreter.
        """
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = tuple(pool.map(self._layer, descriptors, foreign))
        for descriptor, content in zip(descriptors, found, strict=True):
            self._same(descriptor, content.sha256, content.size)
        return found

    def _layer(self, descriptor: canonical.Fields, foreign: bool) -> Content:
        packed = LAYER_TYPES[descriptor.one_of("mediaType", *LAYER_TYPES)]
        place = place_of(descriptor)

        def read() -> Content:
            with self._open(self._find(place)) as stream:
                return read_layer(cast("IO[bytes]", stream), packed=packed, where=self.at(place), foreign=foreign)

        if self._store is None:
            return read()
        return listings.kept(self._store, self._digest(place), read, packed=packed, foreign=foreign)

    def _same(self, descriptor: canonical.Fields, sha256: Digest, size: int) -> None:
        place = place_of(descriptor)
        if f"sha256:{sha256}" != descriptor.text("digest"):
            raise self.wrong(place, f"has the digest sha256:{sha256}")
        if size != descriptor.count("size"):
            raise self.wrong(place, f"has {size} bytes, its descriptor says {descriptor.count('size')}")

    def part(self, descriptor: canonical.Fields) -> Part:
        """The bytes of the blob of *descriptor*, where they are."""
        return self._part(self._find(place_of(descriptor)))

    def copy(self, descriptor: canonical.Fields, to: Path) -> None:
        """Write the blob of *descriptor* to the file *to*."""
        with self._open(self._find(place_of(descriptor))) as stream, to.open("wb") as out:
            shutil.copyfileobj(stream, out, _CHUNK)

    def nothing_else(self) -> None:
        """Raise for a member that nothing refers to."""
        for name in sorted(self._members.keys() - self._used):
            raise self.wrong(name, "is in the archive, but nothing refers to it")

    def _find(self, name: str) -> tarfile.TarInfo:
        self._used.add(name)
        try:
            return self._members[name]
        except KeyError:
            raise self.wrong(name, "is not in the archive") from None

    def _open(self, info: tarfile.TarInfo) -> io.RawIOBase:
        return self._part(info).open()

    def _part(self, info: tarfile.TarInfo) -> Part:
        return Part(path=self._path, start=info.offset_data, size=info.size)
