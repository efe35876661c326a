"""Archives as lists of members: zip (APPNOTE 6.3), tar (ustar, pax, GNU) and ar (deb(5)).

Nothing is written to disk under a name from an archive. Whatever is wrong with one raises one of :data:`DAMAGE`.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import zstandard

from buildonce.difference.blob import CHUNK
from buildonce.difference.facts import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from buildonce.difference.blob import Blob, Scratch
    from buildonce.difference.facts import Label

__all__ = ["DAMAGE", "Archive", "ArchiveKind", "Member", "kind", "read"]

ArchiveKind = Literal["zip", "tar", "ar"]

# What the readers of the standard library raise for bytes that are not what they claim.
DAMAGE: Final = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError, struct.error, EOFError,
    ValueError, OverflowError, LookupError, NotImplementedError, RuntimeError, gzip.BadGzipFile,
    MemoryError,
)  # fmt: skip

_MOST_MEMBERS: Final = 500_000
_AR: Final = b"!<arch>\n"
_TAR_BLOCK: Final = 512
_ZIP_LOCAL: Final = struct.Struct("<4s5H3L2H")
_METHODS: Final = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member: its name, what it is, and what the archive says about it beside its bytes."""

    name: str
    kind: str = "file"  # with a link's target, and a device's numbers
    mode: int = 0
    facts: Mapping[Label, str] = field(default_factory=dict)
    packed: Blob  # as it lies in the archive
    unpack: Callable[[Scratch], Blob] | None = None  # None when packed is all there is
    ordered: bool = True  # whether its place among the others is of its maker's choice

    def open(self, scratch: Scratch) -> Blob:
        """Its bytes. Raises one of :data:`DAMAGE`."""
        return self.unpack(scratch) if self.unpack else self.packed


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """The members in their order."""

    members: tuple[Member, ...]
    facts: Mapping[Label, str] = field(default_factory=dict)


def kind(blob: Blob) -> ArchiveKind | None:
    """Which archive *blob* is, by its first bytes; a program before a zip (pex) is allowed."""
    head = blob.read(0, _TAR_BLOCK)
    if head.startswith((b"PK\3\4", b"PK\5\6")) or (head.startswith(b"#!") and _ends_as_zip(blob)):
        return "zip"
    if head.startswith(_AR):
        return "ar"
    if head[257:262] == b"ustar":
        return "tar"
    return None


def _ends_as_zip(blob: Blob) -> bool:
    try:
        return zipfile.is_zipfile(blob.stream())
    except DAMAGE:
        return False


def read(blob: Blob, which: ArchiveKind) -> Archive:
    """List the members of *blob*. Raises one of :data:`DAMAGE`."""
    readers: dict[ArchiveKind, Callable[[Blob], Archive]] = {"zip": _zip, "tar": _tar, "ar": _ar}
    found = readers[which](blob)
    if len(found.members) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(found.members)} members")
    return found


def _zip(blob: Blob) -> Archive:
    with zipfile.ZipFile(blob.stream()) as archive:
        infos = archive.infolist()
        start = min((info.header_offset for info in infos), default=0)
        members = [_zip_member(blob, info) for info in infos]
        if start:  # the line that names the interpreter of a pex
            members.insert(0, Member(name="(before the zip)", packed=blob.window(0, start)))
        return Archive(members=tuple(members), facts={"archiver": f"comment {archive.comment!r}"})


def _zip_member(blob: Blob, info: zipfile.ZipInfo) -> Member:
    header = blob.window(info.header_offset, _ZIP_LOCAL.size).read()
    magic, *_, name, extra = _ZIP_LOCAL.unpack(header)
    if magic != b"PK\3\4":
        raise zipfile.BadZipFile(f"the header before {info.filename!r} is not there")
    packed = blob.window(info.header_offset + _ZIP_LOCAL.size + name + extra, info.compress_size)
    mode = info.external_attr >> 16
    facts: dict[Label, str] = {
        "time": "{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time),
        "mode": f"{mode & 0o7777:04o}",
        "compressor": _METHODS.get(info.compress_type, f"method {info.compress_type}"),
        "archiver": f"system {info.create_system}, version {info.create_version}, flags {info.flag_bits:#x}, "
        f"attributes {info.external_attr & 0xFFFF:#x}/{info.internal_attr:#x}, extra {info.extra.hex() or 'none'}, "
        f"comment {info.comment!r}",
    }
    return Member(
        name=info.filename,
        kind=f"type {mode >> 12:o}" if mode >> 12 not in (0, 0o10, 0o4) else "file",
        mode=mode & 0o7777,
        facts=facts,
        packed=packed,
        unpack=lambda scratch: _unzip(info, packed, scratch),
    )


def _unzip(info: zipfile.ZipInfo, packed: Blob, scratch: Scratch) -> Blob:
    if info.flag_bits & 1 or info.compress_type not in _METHODS:
        raise NotImplementedError("it is encrypted, or packed in a way that is not read here")
    found = packed if info.compress_type == zipfile.ZIP_STORED else scratch.keep(_inflated(packed), packed.size)
    crc = 0
    for piece in found.chunks():
        crc = zlib.crc32(piece, crc)
    if (found.size, crc) != (info.file_size, info.CRC):
        raise zipfile.BadZipFile("its bytes are not those that the zip's directory says (size or CRC)")
    return found


def _inflated(packed: Blob) -> Iterator[bytes]:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in packed.chunks():
        while piece and not decoder.eof:
            yield decoder.decompress(piece, CHUNK)
            piece = decoder.unconsumed_tail
    while not decoder.eof:
        rest = decoder.decompress(b"", CHUNK)
        if not rest:
            raise EOFError("it is cut short")
        yield rest


class _Info(tarfile.TarInfo):
    """A header; sparse files, whose size is not that of their bytes, are not read."""

    @property
    def blob_size(self) -> int:
        if self.issparse():
            raise NotImplementedError("it has sparse files")
        return self.size if self.isreg() else 0


def _tar(blob: Blob) -> Archive:
    with tarfile.open(fileobj=blob.stream(), mode="r:", tarinfo=_Info) as archive:
        infos = archive.getmembers()
        end = archive.offset
        members = [_tar_member(blob, info) for info in infos if isinstance(info, _Info)]
    # tarfile takes a file that ends after a member, or goes on with garbage, for a whole one.
    if blob.read(end, _TAR_BLOCK) != bytes(_TAR_BLOCK):
        raise EOFError("it is cut short: the blocks that end it are missing")
    return Archive(members=tuple(members))


def _tar_member(blob: Blob, info: _Info) -> Member:
    numbers = f" {info.devmajor}:{info.devminor}" if info.isdev() and not info.isfifo() else ""
    more = {key: value for key, value in info.pax_headers.items() if key not in _PAX_FACTS}
    facts: dict[Label, str] = {
        "time": moment(info.mtime) + (f" ({info.mtime})" if info.mtime % 1 else ""),
        "mode": f"{info.mode & 0o7777:04o}",
        "owner": f"{info.uid}:{info.gid} {info.uname}:{info.gname}",
        "archiver": f"pax headers {more!r}",
    }
    return Member(
        name=info.name.removeprefix("./").rstrip("/") or ".",
        kind=_tar_kind(info) + numbers,
        mode=info.mode & 0o7777,
        facts=facts,
        packed=blob.window(info.offset_data, info.blob_size),
    )


_PAX_FACTS: Final = ("path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname")


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    if info.issym() or info.islnk():
        return f"{'link' if info.issym() else 'hard link'} to {info.linkname}"
    return f"type {info.type!r}"


def _ar(blob: Blob) -> Archive:
    members, at = [], len(_AR)
    while at < blob.size:
        head = blob.window(at, 60).read()
        if head[58:] != b"`\n":
            raise ValueError("an ar header is broken")
        name, time, user, group, mode = (head[a:b].decode("ascii").strip() for a, b in _AR_FIELDS)
        size = int(head[48:58])
        facts: dict[Label, str] = {
            "time": moment(int(time or 0)),
            "mode": f"{int(mode or '0', 8) & 0o7777:04o}",
            "owner": f"{user}:{group}",
        }
        members.append(Member(name=name.rstrip("/"), facts=facts, packed=blob.window(at + 60, size)))
        at += 60 + size + size % 2
    return Archive(members=tuple(members))


_AR_FIELDS: Final = ((0, 16), (16, 28), (28, 34), (34, 40), (40, 48))
