"""Archives whose bytes follow from their members alone: sorted, owned by root, one time for all, no local names.

Tar is POSIX pax (``pax(1)``) with no record for short ASCII names; zips are in :mod:`buildonce.system.zipped`. The only
module that writes tars. Those of :func:`pack` and :func:`unpack` carry folders to another machine and back as they are.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["EPOCH", "Member", "Part", "pack", "unpack", "write_tar"]

# 1980-01-01 UTC: the first time that zip can hold; a constant, so that a commit changes only what it changed.
EPOCH: Final = 315532800


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some of a file's bytes, such as a member of an archive that is not compressed."""

    path: Path
    start: int
    size: int

    def open(self) -> io.RawIOBase:
        """The bytes, read through a handle of its own, so that several threads can."""
        return _Section(self)


class _Section(io.RawIOBase):
    def __init__(self, part: Part) -> None:
        self._file = part.path.open("rb")
        self._start, self._at, self._end = part.start, part.start, part.start + part.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        if base + offset < self._start:
            raise OSError(errno.EINVAL, "before the beginning")
        self._at = base + offset
        return self._at - self._start

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # narrower than typeshed's WriteableBuffer
        data = os.pread(self._file.fileno(), max(0, min(len(buffer), self._end - self._at)), self._at)
        self._at += len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file, link or folder of an archive. ``path`` is relative; a folder's ends in ``/``."""

    path: str
    mode: int = 0o644
    source: Path | Part | bytes = b""
    link: str = ""
    owner: int = 0  # numeric user and group

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.path.endswith("/")

    def open(self) -> IO[bytes]:
        """The bytes."""
        if isinstance(self.source, Part):
            return cast("IO[bytes]", self.source.open())
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    @property
    def size(self) -> int:
        """How many bytes; 0 for links and folders."""
        if self.link or self.is_folder:
            return 0
        if isinstance(self.source, Part):
            return self.source.size
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


def pack(out: IO[bytes], places: Mapping[str, Path], *, mtime: int | None = None) -> None:
    """Write the files and folders *places*, each under its name, with the links and hard links in them.

    All of it belongs to user 0, whoever owns it here. Times are cut to seconds; with *mtime* there is one for
    all, and equal trees give equal bytes.
    """
    first: dict[tuple[int, int], str] = {}  # by what identifies a file that has several names
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive:
        for top, place in sorted(places.items()):
            for name, path in _walked(top, str(place)):
                status = os.lstat(path)
                info = tarfile.TarInfo(name)
                info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime) if mtime is None else mtime
                if stat.S_ISLNK(status.st_mode):
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777  # noqa: PTH115
                elif stat.S_ISDIR(status.st_mode):
                    info.type = tarfile.DIRTYPE
                elif not stat.S_ISREG(status.st_mode):
                    continue
                elif status.st_nlink > 1 and (other := first.setdefault((status.st_dev, status.st_ino), name)) != name:
                    info.type, info.linkname = tarfile.LNKTYPE, other
                else:
                    info.size = status.st_size
                    with open(path, "rb") as stream:  # noqa: PTH123 - tens of thousands: pathlib would take seconds
                        archive.addfile(info, stream)
                    continue
                archive.addfile(info)


def _walked(name: str, path: str) -> Iterator[tuple[str, str]]:
    yield name, path
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        for entry in sorted(os.listdir(path)):  # noqa: PTH208
            yield from _walked(f"{name}/{entry}", f"{path}/{entry}")


def unpack(stream: IO[bytes], into: Path) -> None:
    """Write what a tar holds of its one top file or folder to the new path *into*; it belongs to the caller.

    The tar may have been made by hostile programs: nothing is written outside *into* or through a link, no
    device is made, no file gets the setuid bit. Raises :class:`tarfile.TarError` for one that tries.
    """
    folders: dict[str, tuple[int, float]] = {}  # with the mode and time they get when they are full
    files: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            name = info.name.strip("/").partition("/")[2]
            place = f"{into}/{name}" if name else str(into)
            if name and os.path.dirname(name) not in folders:  # noqa: PTH120
                raise tarfile.OutsideDestinationError(info, place)
            if info.isdir():
                if name not in folders:
                    os.mkdir(place)  # noqa: PTH102
                folders[name] = info.mode, info.mtime
            elif info.issym():
                os.symlink(info.linkname, place)  # noqa: PTH211
            elif info.islnk():
                other = info.linkname.strip("/").partition("/")[2]
                if other not in files:
                    raise tarfile.LinkOutsideDestinationError(info, other)
                os.link(f"{into}/{other}", place)
            elif info.isreg() and (content := archive.extractfile(info)):
                with open(place, "xb") as out:  # noqa: PTH123
                    shutil.copyfileobj(content, out, 1 << 20)
                    os.fchmod(out.fileno(), info.mode & 0o777)
                os.utime(place, (info.mtime, info.mtime))
                files.add(name)
    for name, (mode, mtime) in reversed(folders.items()):
        Path(into, name).chmod(mode & 0o777)
        os.utime(Path(into, name), (mtime, mtime))
