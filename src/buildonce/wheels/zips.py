"""Opens a wheel's zip so that every program that ever reads it sees the same files (PKWARE APPNOTE 6.3).

A zip says everything twice, in its central directory and before each member, and readers believe one or the
other: that is how one file installs differently with two tools. Here both must agree, and every byte of the
file must belong to a member, the directory or its end record.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Archive", "Member", "opened", "refusal"]

MOST_MEMBERS: Final = 100_000
MOST_BYTES: Final = 8 << 30  # unpacked; no wheel on a public index comes near
# Real wheels unpack to 3-13 times their size; DEFLATE can reach 1032.
MOST_RATIO: Final = 200
_RATIO_FLOOR: Final = 64 << 20  # below this many unpacked bytes nobody is harmed
_LONGEST_NAME: Final = 1024

_CHUNK: Final = 1 << 18
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_DESCRIPTOR: Final = 0x8
_UTF8: Final = 0x800
_UNICODE_PATH: Final = 0x7075  # an extra field with a second name, which some programs prefer
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file of a zip whose directory and local header agree; its packed bytes begin at ``offset``."""

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


class Archive:
    """An opened zip: its files in the order of their bytes, which is the order to read them in."""

    def __init__(self, stream: IO[bytes], name: str, members: tuple[Member, ...]) -> None:
        self.name = name
        self.members = members
        self._stream = stream

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The bytes of *member* in pieces of bounded size.

        Raises :class:`VerificationError` as soon as there are more or fewer bytes than the directory says,
        or others.
        """
        size = crc = 0
        for piece in _inflated(self._stream, member, self.name) if member.deflated else _stored(self._stream, member):
            size += len(piece)
            if size > member.size:
                break
            crc = zlib.crc32(piece, crc)
            yield piece
        if size != member.size or crc != member.crc:
            raise refusal(self.name, member.name, "its bytes are not those of the zip's directory (size or CRC)")

    def read(self, member: Member, limit: int) -> bytes:
        """All bytes of a small *member*; one above *limit* bytes is refused."""
        if member.size > limit:
            raise refusal(
                self.name,
                member.name,
                f"it has {member.size} bytes, more than the {limit} such a file may have",
            )
        return b"".join(self.chunks(member))


def refusal(wheel: str, member: str, why: str, *, hint: str = "") -> VerificationError:
    """The error for a wheel that must not be installed; *member* is ``""`` for the whole file."""
    project = wheel.split("-", 1)[0]
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in member)
    return VerificationError(
        f"the wheel {wheel} is refused: {shown}{': ' if shown else ''}{why}",
        where=f"{wheel}: {shown}" if shown else wheel,
        hint=hint or f"lock another version of {project}; tell its maintainers that this file must not be installed",
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open the wheel at *path* and check the structure of its zip; contents are checked as they are read.

    Raises :class:`VerificationError` that names the wheel and the member.
    """
    with path.open("rb") as stream:
        yield Archive(stream, path.name, _members(stream, path.name))


def _members(stream: IO[bytes], wheel: str) -> tuple[Member, ...]:
    directory, count = _directory(stream, wheel)
    try:
        with zipfile.ZipFile(stream) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, ValueError, struct.error) as error:
        raise refusal(wheel, "", f"its zip directory cannot be read ({error})") from error
    if len(infos) != count:
        raise refusal(wheel, "", f"its zip says {count} members and has {len(infos)}")
    _check_limits(infos, wheel)
    _check_names(infos, wheel)
    members, end = [], 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset != end:
            raise refusal(wheel, info.filename, "bytes before it belong to no member, or to two")
        member, end = _member(stream, info, wheel)
        if not info.is_dir():
            members.append(member)
    if end != directory:
        raise refusal(wheel, "", "bytes before its zip directory belong to no member")
    return tuple(members)


def _directory(stream: IO[bytes], wheel: str) -> tuple[int, int]:
    """Where the central directory begins and how many members it has; it must reach to the file's end."""
    length = stream.seek(0, os.SEEK_END)
    if length < _END.size:
        raise refusal(wheel, "", "it is not a zip file")
    stream.seek(length - _END.size)
    magic, disk, start_disk, here, count, size, offset, comment = _END.unpack(stream.read(_END.size))
    if magic != b"PK\5\6" or comment:
        raise refusal(wheel, "", "it is not a zip file, or bytes follow the end of the zip")
    end = length - _END.size
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (size, offset):
        end, count, size, offset = _directory64(stream, end, wheel)
        here = count
    if disk or start_disk or here != count or offset + size != end:
        raise refusal(wheel, "", "its zip directory is not where it says (bytes before the zip, or after it)")
    return offset, count


def _directory64(stream: IO[bytes], end: int, wheel: str) -> tuple[int, int, int, int]:
    """The same from the zip64 records, which must stand directly before the end record."""
    start = end - _LOCATOR64.size - _END64.size
    if start < 0:
        raise refusal(wheel, "", "its zip64 end record is missing")
    stream.seek(start)
    magic, length, _, _, disk, start_disk, here, count, size, offset = _END64.unpack(stream.read(_END64.size))
    locator, locator_disk, place, disks = _LOCATOR64.unpack(stream.read(_LOCATOR64.size))
    plain = (disk, start_disk, locator_disk, disks) == (0, 0, 0, 1) and here == count and length == _END64.size - 12
    if magic != b"PK\6\6" or locator != b"PK\6\7" or place != start or not plain:
        raise refusal(wheel, "", "its zip64 end record does not agree with itself")
    return start, count, size, offset


def _check_limits(infos: Iterable[zipfile.ZipInfo], wheel: str) -> None:
    infos = list(infos)
    if len(infos) > MOST_MEMBERS:
        raise refusal(wheel, "", f"it has {len(infos)} members; at most {MOST_MEMBERS} are unpacked")
    size = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if size > MOST_BYTES or (size > _RATIO_FLOOR and size > MOST_RATIO * packed):
        raise refusal(wheel, "", f"it would unpack from {packed} to {size} bytes")


def _check_names(infos: Iterable[zipfile.ZipInfo], wheel: str) -> None:
    seen: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for info in infos:
        name = info.filename
        _check_name(info, wheel)
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            twice = (
                "it is there twice"
                if seen[folded] == name
                else f"only letter case or accents tell it from {seen[folded]}"
            )
            raise refusal(wheel, name, twice)
        seen[folded] = name
        if not info.is_dir():
            files.add(name)
        parts = name.rstrip("/").split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for name in sorted(files & folders):
        raise refusal(wheel, name, "it is a file and a folder at once")


def _check_name(info: zipfile.ZipInfo, wheel: str) -> None:
    name = info.filename
    if info.orig_filename != name or _CONTROL.search(name) or len(name) > _LONGEST_NAME:
        raise refusal(wheel, info.orig_filename, "its name has control characters or is too long")
    if not info.flag_bits & _UTF8 and not name.isascii():
        raise refusal(wheel, name, "its name is not marked as UTF-8, so that tools read different names")
    parts = name.removesuffix("/").split("/")
    if "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise refusal(wheel, name, "its path would leave the place of installation")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise refusal(wheel, name, "it is a link or a device, not a file")
    if info.is_dir() and (info.file_size or info.compress_size > 2):
        raise refusal(wheel, name, "it is a folder with content")


def _member(stream: IO[bytes], info: zipfile.ZipInfo, wheel: str) -> tuple[Member, int]:
    """*info* as a member, and where the next one has to begin."""
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL.size)
    if len(header) != _LOCAL.size:
        raise refusal(wheel, info.filename, "its local header is missing")
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    name, extra = stream.read(name_length), stream.read(extra_length)
    expected_name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    if magic != b"PK\3\4" or name != expected_name or method != info.compress_type:
        raise refusal(wheel, info.filename, "the zip's directory and the header before the file disagree")
    if (flags | info.flag_bits) & _ENCRYPTED:
        raise refusal(wheel, info.filename, "it is encrypted")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal(wheel, info.filename, f"it is packed with method {method}; wheels are stored or deflated")
    if _UNICODE_PATH in {*_extra_fields(extra), *_extra_fields(info.extra)}:
        raise refusal(wheel, info.filename, "it has a second name in an extra field")
    offset = info.header_offset + _LOCAL.size + name_length + extra_length
    end = offset + info.compress_size
    described = bool(flags & _DESCRIPTOR)
    if described:
        end += _descriptor(stream, end, info, wheel)
    elif (
        crc != info.CRC
        or not _same_size(size, info.file_size, extra)
        or not _same_size(packed, info.compress_size, extra)
    ):
        raise refusal(
            wheel, info.filename, "the zip's directory and the header before the file disagree about its size"
        )
    member = Member(
        name=info.filename,
        offset=offset,
        packed=info.compress_size,
        size=info.file_size,
        crc=info.CRC,
        deflated=method == zipfile.ZIP_DEFLATED,
    )
    return member, end


def _same_size(local: int, central: int, extra: bytes) -> bool:
    """Whether a local header's size is the directory's; zip64 has it as 64 bits in an extra field."""
    return local == central or (local == 0xFFFFFFFF and struct.pack("<Q", central) in extra)


def _extra_fields(extra: bytes) -> Iterator[int]:
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        yield tag
        extra = extra[4 + length :]


def _descriptor(stream: IO[bytes], place: int, info: zipfile.ZipInfo, wheel: str) -> int:
    """The length of the data descriptor at *place*: with or without signature, 32 or 64 bits, all in use."""
    stream.seek(place)
    found = stream.read(24)
    for layout in ("<LQQ", "<LLL"):
        with contextlib.suppress(struct.error):
            plain = struct.pack(layout, info.CRC, info.compress_size, info.file_size)
            for form in (b"PK\7\x08" + plain, plain):
                if found.startswith(form):
                    return len(form)
    raise refusal(wheel, info.filename, "the zip's directory and the descriptor after the file disagree")


def _stored(stream: IO[bytes], member: Member) -> Iterator[bytes]:
    stream.seek(member.offset)
    left = member.packed
    while left and (piece := stream.read(min(left, _CHUNK))):
        left -= len(piece)
        yield piece


def _inflated(stream: IO[bytes], member: Member, wheel: str) -> Iterator[bytes]:
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _stored(stream, member):
            while packed:
                yield unpack.decompress(packed, _CHUNK << 2)
                packed = unpack.unconsumed_tail
    except zlib.error as error:
        raise refusal(wheel, member.name, f"its packed bytes are damaged ({error})") from error
    if not unpack.eof or unpack.unused_data:
        raise refusal(wheel, member.name, "its packed bytes do not end where the zip's directory says")
