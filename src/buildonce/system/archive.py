"""Archives whose bytes follow from their members alone: sorted, owned by root, one time for all, no local names.

Tar is POSIX pax (``pax(1)``) with no record for short ASCII names; zips are in :mod:`buildonce.system.zipped`. The only
module that writes tars.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["EPOCH", "Member", "write_tar"]

# 1980-01-01 UTC: the first time that zip can hold; a constant, so that a commit changes only what it changed.
EPOCH: Final = 315532800


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file, link or folder of an archive. ``path`` is relative; a folder's ends in ``/``."""

    path: str
    mode: int = 0o644
    source: Path | bytes = b""
    link: str = ""
    owner: int = 0  # numeric user and group

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.path.endswith("/")

    def open(self) -> IO[bytes]:
        """The bytes."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    @property
    def size(self) -> int:
        """How many bytes; 0 for links and folders."""
        if self.link or self.is_folder:
            return 0
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def write_tar(out: IO[bytes], members: Iterable[Member], *, mtime: int = EPOCH) -> None:
    """Write *members*, sorted by path; folders must be among them where their mode matters."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as archive:
        for member in sorted(members, key=lambda m: m.path):
            info = tarfile.TarInfo(member.path)
            info.mtime, info.mode = mtime, member.mode
            info.uid = info.gid = member.owner
            if member.is_folder:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif member.link:
                info.type, info.linkname = tarfile.SYMTYPE, member.link
                archive.addfile(info)
            else:
                info.size = member.size
                with member.open() as stream:
                    archive.addfile(info, stream)
