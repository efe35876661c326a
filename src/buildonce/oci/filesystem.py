"""Reads layers: checks the digests of both forms while they stream past, and lays the members over each
other.

Format: OCI image specification 1.1, *Image Layer Filesystem Changeset*.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import VerificationError
from buildonce.model import Digest, Entry
from buildonce.oci.configuration import USER
from buildonce.oci.layers import special

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Content", "FileSystem", "read_layer"]

_CHUNK: Final = 1 << 20
_MOST_MEMBERS: Final = 500_000
_MOST_BYTES: Final = 64 << 30
_GZIP: Final = 31  # zlib's window bits for a gzip member with its header
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A layer as it was read: the digests of its two forms and its members in order (folders end in ``/``),
    with owners.
    """

    sha256: Digest
    size: int
    diff_id: Digest
    members: tuple[tuple[Entry, int], ...]


def read_layer(stream: IO[bytes], *, packed: bool, where: str, foreign: bool = False) -> Content:
    """Read a layer to its end; *packed* says whether it is gzip.

    A *foreign* layer, of a base image that others made, may also hold hard links and names in other
    spellings. Raises :class:`VerificationError` naming *where* for anything that is not a layer.
    """
    raw = _Counted(stream)
    plain = _Plain(_members_of_gzip(raw) if packed else iter(lambda: raw.read(_CHUNK), b""))
    try:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=_CHUNK) as archive:
            members = tuple(_walk(archive, foreign=foreign))
        while plain.read(_CHUNK):
            pass
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise VerificationError(f"not a layer: {error}", where=where) from error
    return Content(sha256=raw.digest, size=raw.size, diff_id=plain.digest, members=members)


def _walk(archive: tarfile.TarFile, *, foreign: bool) -> Iterator[tuple[Entry, int]]:
    found: dict[str, Entry] = {}
    total = 0
    for info in archive:
        total += info.size
        if len(found) >= _MOST_MEMBERS or total > _MOST_BYTES:
            raise ValueError("it holds more than an image can")
        path = _path(info, foreign=foreign)
        if not path:
            continue
        if path in found:
            raise ValueError(f"{path} is in it twice")
        entry = _entry(info, path, archive, found, foreign=foreign)
        found[path] = entry
        yield entry, info.uid if info.uid == info.gid else -1


def _path(info: tarfile.TarInfo, *, foreign: bool) -> str:
    name = info.name.removeprefix("./").rstrip("/") if foreign else info.name
    if name in ("", ".") and foreign:
        return ""
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"the path {info.name!r} leads outside")
    return name


def _entry(
    info: tarfile.TarInfo, path: str, archive: tarfile.TarFile, found: dict[str, Entry], *, foreign: bool
) -> Entry:
    mode = info.mode & 0o7777
    if info.isdir():
        return Entry(path=f"{path}/", kind="folder", mode=mode)
    if info.issym():
        return Entry(path=path, kind="link", mode=0o777, link=info.linkname)
    if info.isreg():
        stream = archive.extractfile(info) or io.BytesIO()
        return Entry(path=path, mode=mode, size=info.size, sha256=_digest(stream))
    if info.islnk() and foreign:
        first = found.get(info.linkname.removeprefix("./"))
        if first is not None:
            return replace(first, path=path)
    raise ValueError(f"{path} is neither a file, a folder nor a link")


def _digest(stream: IO[bytes]) -> Digest:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return Digest(digest.hexdigest())


@dataclass(slots=True)
class FileSystem:
    """What a container sees when the layers read so far lie over each other. ``strict_below`` and owners: see
    :meth:`lay`.
    """

    entries: dict[str, Entry] = field(
        default_factory=dict
    )  # files and links by path, special folders with a / at the end
    _folders: set[str] = field(default_factory=set)

    def lay(self, content: Content, *, where: str, foreign: bool = False) -> None:
        """Put the layer *content* on top.

        A layer of ours removes nothing (whiteouts), and all in it belongs to root but folders of the image's
        user. A *foreign* one may do both. Nothing is ever laid through a link. Raises
        :class:`VerificationError`.
        """
        for entry, owner in content.members:
            path = entry.path.rstrip("/")
            name = path.rpartition("/")[2]
            if name.startswith(_WHITEOUT):
                if not foreign:
                    raise VerificationError(f"{path} removes a file of another layer", where=where)
                self._white_out(path)
                continue
            self._check(entry, owner, where=where, foreign=foreign)
            self._put(entry, owner)

    def _check(self, entry: Entry, owner: int, *, where: str, foreign: bool) -> None:
        path = entry.path.rstrip("/")
        for parent in _parents(path):
            if parent in self.entries:
                raise VerificationError(f"{path} is laid through {parent}, which is no folder", where=where)
        allowed = (0, USER) if entry.path.endswith("/") else (0,)
        if not foreign and owner not in allowed:
            raise VerificationError(f"{path} does not belong to root", where=where)

    def _put(self, entry: Entry, owner: int) -> None:
        path = entry.path.rstrip("/")
        if entry.path.endswith("/"):
            self.entries.pop(path, None)
            self._folders.add(path)
            if special(entry.mode, owner):
                self.entries[entry.path] = entry
            else:
                self.entries.pop(entry.path, None)
            return
        if path in self._folders:
            self._remove(path)
        self.entries[path] = entry

    def _white_out(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._remove_below(parent)
        else:
            self._remove(f"{parent}/{name.removeprefix(_WHITEOUT)}".removeprefix("/"))

    def _remove(self, path: str) -> None:
        self.entries.pop(path, None)
        self.entries.pop(f"{path}/", None)
        self._folders.discard(path)
        self._remove_below(path)

    def _remove_below(self, path: str) -> None:
        prefix = f"{path}/" if path else ""
        for known in [e for e in self.entries if e.startswith(prefix) and e != prefix]:
            del self.entries[known]
        self._folders = {folder for folder in self._folders if not folder.startswith(prefix)}


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


class _Counted:
    """A stream to read from that keeps the digest and the number of the bytes it gave."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash, self.size = stream, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


class _Plain(io.RawIOBase):
    """Pieces of bytes as a stream, with the digest of what was read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest, self._hash = pieces, b"", hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size or size < 0:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest = self._rest + piece if self._rest else piece
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        self._hash.update(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _members_of_gzip(raw: _Counted) -> Iterator[bytes]:
    """The plain bytes of one gzip member after the other; never more than a piece in memory, however far it
    unpacks.
    """
    data = raw.read(_CHUNK)
    while data:
        member = zlib.decompressobj(_GZIP)
        while True:
            piece = member.decompress(data, _CHUNK)
            if piece:
                yield piece
            if member.eof:
                break
            data = member.unconsumed_tail or raw.read(_CHUNK)
            if not data and not piece:
                raise EOFError("it ends in the middle of its compressed data")
        data = member.unused_data or raw.read(_CHUNK)
