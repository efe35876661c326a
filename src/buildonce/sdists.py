"""Opens source distributions written by others, without trusting a name in them (PEP 625, PEP 721)."""

from __future__ import annotations

import contextlib
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Final, NoReturn

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Item", "items", "unpack"]

# The largest sdists in use (machine learning) are some 500 MB and 50,000 files; what is far beyond is an
# attack on the disk.
_MOST_BYTES: Final = 4 << 30
_MOST_ITEMS: Final = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One member. ``path`` is checked, relative, without ``..``; a folder has neither *open* nor *link*."""

    path: str
    mode: int  # 0o644 or 0o755
    size: int
    open: Callable[[], IO[bytes]] | None
    link: str = ""  # relative, and inside the sdist


@contextlib.contextmanager
def items(path: Path) -> Iterator[Iterator[Item]]:
    """The members of the sdist *path* (tar with any compression, or zip), in its order, each checked.

    Raises :class:`VerificationError` for what is absolute, leads outside, is there twice, is a device, or is
    too much.
    """
    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                yield _checked(_zip_items(archive, path.name), path.name)
        else:
            with tarfile.open(path) as archive_:
                yield _checked(_tar_items(archive_, path.name), path.name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise VerificationError(f"the sdist cannot be read: {error}", where=path.name) from error


def unpack(path: Path, into: Path) -> Path:
    """Unpack the sdist *path* below the new folder *into* and answer its one top folder.

    Files are 0644 or 0755, folders 0755. Links are made when everything else is there, so that nothing is
    written through one. Raises :class:`VerificationError`.
    """
    into.mkdir(parents=True)
    links: list[Item] = []
    with items(path) as found:
        for item in found:
            if item.link:
                links.append(item)
            else:
                _write(item, into, path.name)
    _write_links(links, into, path.name)
    tops = sorted(into.iterdir())
    if len(tops) != 1 or not tops[0].is_dir() or tops[0].is_symlink():
        _refuse(f"has one folder at its top, not {len(tops)} things", path.name)
    for folder in into.rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
    return tops[0]


def _write(item: Item, into: Path, where: str) -> None:
    place = into / item.path
    try:
        if item.open is None:
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with item.open() as source, place.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (FileExistsError, NotADirectoryError):
        _refuse(f"holds one path twice: {item.path}", where)
    place.chmod(item.mode)


def _write_links(links: list[Item], into: Path, where: str) -> None:
    """Links of links can lead outside although each alone does not: what counts is where they really lead."""
    for link in links:
        place = into / link.path
        if not _is_inside(place.parent, into):
            _refuse(f"holds a link that leads outside: {link.path} -> {link.link}", where)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.symlink_to(link.link)
        except FileExistsError:
            _refuse(f"holds one path twice: {link.path}", where)
    for link in links:
        if not _is_inside(into / link.path, into / link.path.partition("/")[0]):
            _refuse(f"holds a link that leads outside: {link.path} -> {link.link}", where)


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # a loop, on Python before 3.13
        return False


def _checked(found: Iterator[Item], where: str) -> Iterator[Item]:
    total, seen = 0, set[str]()
    for count, item in enumerate(found):
        total += item.size
        if count >= _MOST_ITEMS or total > _MOST_BYTES:
            _refuse(f"is larger than {_MOST_ITEMS} members or {_MOST_BYTES >> 30} GiB", where)
        if item.path in seen and (item.open or item.link):
            _refuse(f"holds one path twice: {item.path}", where)
        seen.add(item.path)
        yield item


def _tar_items(archive: tarfile.TarFile, where: str) -> Iterator[Item]:
    for member in archive:
        path = _safe(member.name, where)
        if not path:
            continue
        mode = 0o755 if member.mode & 0o100 else 0o644
        if member.isdir():
            yield Item(path=path, mode=0o755, size=0, open=None)
        elif member.issym():
            yield Item(path=path, mode=0o777, size=0, open=None, link=_safe_link(path, member.linkname, where))
        elif member.islnk():
            # A hard link names an earlier member: its bytes are written again, which is what unpacking would
            # show.
            target = _linked(archive, member, where)
            yield Item(path=path, mode=mode, size=target.size, open=partial(_opened, archive, target))
        elif member.isreg():
            yield Item(path=path, mode=mode, size=member.size, open=partial(_opened, archive, member))
        else:
            _refuse(f"holds a device or a pipe: {member.name}", where)


def _linked(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> tarfile.TarInfo:
    try:
        target = archive.getmember(member.linkname)
    except KeyError:
        target = member
    if not target.isreg():
        _refuse(f"holds a hard link to no file of it: {member.name}", where)
    return target


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"no content: {member.name}")
    return stream


def _zip_items(archive: zipfile.ZipFile, where: str) -> Iterator[Item]:
    for info in archive.infolist():
        path = _safe(info.filename, where)
        kind = info.external_attr >> 16
        if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            _refuse(f"holds a link or a device: {info.filename}", where)
        if info.is_dir():
            yield Item(path=path, mode=0o755, size=0, open=None)
            continue
        mode = 0o755 if kind & 0o100 else 0o644
        yield Item(path=path, mode=mode, size=info.file_size, open=partial(archive.open, info))


def _safe(name: str, where: str) -> str:
    """*name* without ``.`` and doubled slashes; ``""`` for the archive's own top."""
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        _refuse(f"holds a path that leads outside: {name!r}", where)
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _safe_link(path: str, link: str, where: str) -> str:
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if link.startswith("/") or inside.partition("/")[0] != path.partition("/")[0]:
        _refuse(f"holds a link that leads outside: {path} -> {link}", where)
    return link


def _refuse(message: str, where: str) -> NoReturn:
    raise VerificationError(f"the sdist {message}", where=where)
