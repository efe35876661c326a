"""Archives that came from elsewhere, unpacked so that nothing lands outside, and nothing but files."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from typing import TYPE_CHECKING

from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from pathlib import Path

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,250}")


def unpack(archive: Path, into: Path, *, flat: bool) -> list[str]:
    """Lay the files of the tar *archive* into the empty folder *into*; answers their names. With *flat* there are no
    folders. Raises :class:`Refused`.
    """
    try:
        with tarfile.open(archive, "r:") as packed:
            members = packed.getmembers()
            room(into, sum(member.size for member in members))
            return [name for member in members if (name := _lay(packed, member, into, flat=flat))]
    except (tarfile.TarError, EOFError) as error:
        raise Refused(f"{archive.name} is damaged: {error}", "copy it again", kind=VERIFICATION) from error


def room(folder: Path, size: int) -> None:
    """Raise :class:`Refused` when *folder* has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise Refused(f"{folder} has room for {free >> 20} MB, {size >> 20} MB are needed", "make room on this host")


def _lay(packed: tarfile.TarFile, member: tarfile.TarInfo, into: Path, *, flat: bool) -> str:
    archive = str(packed.name).rpartition("/")[2]
    parts = member.name.removeprefix("./").rstrip("/").split("/")
    plain = all(_PART.fullmatch(part) for part in parts) and (len(parts) == 1 or not flat)
    if member.isdir() and (plain or parts in ([""], ["."])) and not flat:
        return ""
    stream = packed.extractfile(member) if member.isreg() and plain else None
    if stream is None:
        what = "which is no plain file" if plain else "which is no plain name"
        raise Refused(f"{archive} holds {member.name!r}, {what}", kind=VERIFICATION)
    place = into.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o755 if member.mode & 0o100 and not flat else 0o644
    try:
        number = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise Refused(f"{archive} holds {member.name!r} twice", kind=VERIFICATION) from None
    with stream, os.fdopen(number, "wb") as out:
        os.fchmod(number, mode)
        shutil.copyfileobj(stream, out, 1 << 20)
        out.flush()
        os.fsync(number)
    return "/".join(parts)
