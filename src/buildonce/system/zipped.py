"""Deflated zip archives whose bytes do not depend on the machine's zlib (APPNOTE 6.3, without zip64).

The standard library has no way to give its writer another compressor; a zip of plain members is three fixed
records.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO, TYPE_CHECKING, Final

import deflate

from buildonce.errors import BuildError
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buildonce.system.archive import Member

__all__ = ["LEVEL", "write_deflated_zip"]

LEVEL: Final = 6  # of libdeflate: as small as zlib's 6 in half the time
_LIMIT: Final = 0xFFFFFFFF
_MOST_MEMBERS: Final = 0xFFFF
_STORED, _DEFLATED = 0, 8
_VERSION: Final = 20  # APPNOTE 4.4.3: deflate and folders
_UNIX: Final = 3 << 8  # APPNOTE 4.4.2: the upper byte says how external attributes are meant
_UTF8: Final = 1 << 11  # APPNOTE 4.4.4
_DATE_1980: Final = (1 << 5) | 1  # MS-DOS: years since 1980 in bits 9-15, month in 5-8, day in 0-4


def write_deflated_zip(path: Path, members: Iterable[Member]) -> None:
    """Write *members* in the order given, all of 1980-01-01, each deflated unless that would make it larger.

    Appears under its name when it is complete. Raises :class:`BuildError` beyond 4 GiB or 65,535 members.
    """
    with files.scratch(path.parent, "zip") as aside:
        with (aside / path.name).open("wb") as out:
            directory = [_member(out, member) for member in members]
            start = out.tell()
            out.writelines(directory)
            size = out.tell() - start
            if start + size > _LIMIT or len(directory) > _MOST_MEMBERS:
                raise BuildError("too large for a zip archive", where=path.name)
            out.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(directory), len(directory), size, start, 0))
        (aside / path.name).chmod(0o644)
        (aside / path.name).replace(path)


def _member(out: IO[bytes], member: Member) -> bytes:
    """Write one member; answers its record for the central directory."""
    with member.open() as stream:
        data = stream.read()
    small = deflate.deflate_compress(data, LEVEL)
    method = _DEFLATED if len(small) < len(data) else _STORED
    body = small if method == _DEFLATED else data
    name = member.path.encode()
    if max(len(data), out.tell()) > _LIMIT:
        raise BuildError("too large for a zip archive", where=member.path)
    start, flags = out.tell(), 0 if member.path.isascii() else _UTF8
    common = struct.pack(
        "<5H3I2H",
        _VERSION,
        flags,
        method,
        0,
        _DATE_1980,
        zlib.crc32(data),
        len(body),
        len(data),
        len(name),
        0,
    )
    out.write(b"PK\3\4" + common + name + body)
    attributes = (0o100000 | member.mode) << 16
    return (
        b"PK\1\2"
        + struct.pack("<H", _UNIX | _VERSION)
        + common
        + struct.pack("<3H2I", 0, 0, 0, attributes, start)
        + name
    )
