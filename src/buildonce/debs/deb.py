"""Reads binary packages as a stream: ``ar`` around ``control.tar`` and ``data.tar`` (deb(5)).

Both may be compressed with xz, zstd or gzip. Nothing is unpacked here and no maintainer script is ever run.
Every member is checked before its consumer sees it: paths stay inside, nothing is written through a link of
the same package, there are no devices, and sizes have limits.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Final, Literal, cast

import zstandard

from buildonce.debs.fields import paragraphs
from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["MERGED", "Deb", "Member", "MemberKind", "merge", "read"]

MemberKind = Literal["file", "folder", "link", "hardlink"]

# The folders that are links into /usr on every supported release (Debian 12 is the first without any unmerged
# one).
MERGED: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")

_MAGIC: Final = b"!<arch>\n"
_MOST_MEMBERS: Final = 500_000
_MOST_BYTES: Final = 16 << 30
_MOST_CONTROL_BYTES: Final = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member of ``data.tar``. ``path`` is relative to ``/``, and so is ``link`` of a hardlink."""

    path: str
    kind: MemberKind = "file"
    mode: int = 0o644  # permission bits with setuid, setgid and sticky
    size: int = 0
    link: str = ""  # of a link: as written
    owner: int = 0
    group: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deb:
    """A package: its control fields, the files of ``control.tar`` by name, and the way to its data."""

    path: Path
    fields: Mapping[str, str]
    controls: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"]

    @property
    def version(self) -> str:
        """The package's full version."""
        return self.fields["Version"]

    @property
    def architecture(self) -> str:
        """``amd64``, … or ``all``."""
        return self.fields["Architecture"]

    def members(self) -> Iterator[tuple[Member, IO[bytes]]]:
        """The members of ``data.tar`` in their order; a file's stream is to be read before the next.

        Raises :class:`VerificationError` for a member that must not be in a package.
        """
        with _blame(self.path), _tar(self.path, "data.tar") as archive:
            yield from _walk(archive, self.path)


def read(path: Path) -> Deb:
    """Read the control part of the package at *path*. Raises :class:`VerificationError` otherwise."""
    controls: dict[str, bytes] = {}
    with _blame(path), _tar(path, "control.tar") as archive:
        for info in archive:
            if not info.isreg():
                continue
            if info.size > _MOST_CONTROL_BYTES:
                raise _wrong(path, f"control file {info.name} has {info.size} bytes")
            stream = archive.extractfile(info)
            controls[info.name.removeprefix("./")] = stream.read() if stream else b""
    found = paragraphs(controls.get("control", b"").decode(errors="replace"))
    if len(found) != 1 or any(not found[0].get(name) for name in ("Package", "Version", "Architecture")):
        raise _wrong(path, "it has no control file with Package, Version and Architecture")
    return Deb(path=path, fields=found[0], controls=controls)


def merge(member: Member) -> Member | None:
    """*member* where it is on a system with merged /usr: ``lib/x`` is at ``usr/lib/x``.

    None for the links ``/lib`` → ``usr/lib`` themselves, which base-files carries since Debian 13: a consumer
    makes them once.
    """
    if member.kind == "link" and member.path in MERGED:
        return None
    link = _merged(member.link) if member.kind == "hardlink" else member.link
    return replace(member, path=_merged(member.path), link=link)


def _merged(path: str) -> str:
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


@contextlib.contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Turn what the decompressors and tarfile say about broken bytes into an error that names the package."""
    try:
        yield
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zstandard.ZstdError,
        zlib.error,
        gzip.BadGzipFile,
        EOFError,
        ValueError,
    ) as error:
        raise _wrong(path, str(error)) from error


def _wrong(path: Path, reason: str) -> VerificationError:
    return VerificationError(f"{path.name} is not a sound Debian package: {reason}", where=str(path))


@contextlib.contextmanager
def _tar(path: Path, wanted: str) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as file:
        name, size = _find(file, path, wanted)
        part: IO[bytes] = io.BufferedReader(_Part(file, size), 1 << 18)  # type: ignore[type-var]  # typeshed
        with _open(part, name) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18) as archive:
            yield archive


def _find(file: IO[bytes], path: Path, wanted: str) -> tuple[str, int]:
    """Go to the ``ar`` member whose name begins with *wanted*; answers its name and size."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise _wrong(path, "it does not begin as an ar archive")
    while header := file.read(60):
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        digits = header[48:58].strip()
        if len(header) < 60 or header[58:] != b"`\n" or not digits.isdigit():
            raise _wrong(path, "an ar header is broken")
        if file.tell() + int(digits) > path.stat().st_size:
            raise _wrong(path, "it is cut short")
        if name.startswith(wanted):
            return name, int(digits)
        file.seek(int(digits) + int(digits) % 2, io.SEEK_CUR)
    raise _wrong(path, f"it has no {wanted}")


def _open(part: IO[bytes], name: str) -> IO[bytes]:
    openers: dict[str, Callable[[IO[bytes]], object]] = {
        "": lambda stream: stream,
        ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
        ".xz": lzma.LZMAFile,
        ".zst": _zstandard,
    }
    suffix = name.partition(".tar")[2]
    if suffix not in openers:
        msg = f"{name} is compressed in a way that is not known"
        raise ValueError(msg)
    return cast("IO[bytes]", openers[suffix](part))


def _zstandard(stream: IO[bytes]) -> object:
    return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)


class _Part(io.RawIOBase):
    """The next *size* bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # narrower than typeshed's WriteableBuffer
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class _Blaming(io.BufferedIOBase):
    """The bytes of one member; what breaks while a consumer reads them is told with the package's name."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        with _blame(self._path):
            return self._stream.read(-1 if size is None else size)


def _walk(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[Member, IO[bytes]]]:
    links: set[str] = set()
    count = total = 0
    for info in archive:
        count, total = count + 1, total + info.size
        if count > _MOST_MEMBERS or total > _MOST_BYTES:
            raise _wrong(path, "it holds more than a package can")
        member = _member(info, path)
        if not member.path:
            continue
        if any(parent in links for parent in _parents(member.path)):
            raise _wrong(path, f"{member.path} would be written through a link")
        if member.kind == "link":
            links.add(member.path)
        stream = archive.extractfile(info) if member.kind == "file" else None
        yield member, cast("IO[bytes]", _Blaming(stream, path) if stream else io.BytesIO())


def _member(info: tarfile.TarInfo, path: Path) -> Member:
    kinds: dict[bytes, MemberKind] = {
        tarfile.REGTYPE: "file",
        tarfile.AREGTYPE: "file",
        tarfile.DIRTYPE: "folder",
        tarfile.SYMTYPE: "link",
        tarfile.LNKTYPE: "hardlink",
    }
    if info.type not in kinds:
        raise _wrong(path, f"{info.name} is neither a file, a folder nor a link")
    kind = kinds[info.type]
    link = _inside(info.linkname, path) if kind == "hardlink" else info.linkname
    return Member(
        path=_inside(info.name, path),
        kind=kind,
        mode=info.mode & 0o7777,
        size=info.size if kind == "file" else 0,
        link=link if kind in ("link", "hardlink") else "",
        owner=info.uid,
        group=info.gid,
    )


def _inside(name: str, path: Path) -> str:
    parts = name.removeprefix("./").rstrip("/").split("/")
    if parts in ([""], ["."]):
        return ""
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise _wrong(path, f"the path {name!r} leads outside")
    return "/".join(parts)


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
