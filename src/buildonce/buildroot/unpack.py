"""Unpacks packages into a folder in pure Python: no root, no dpkg, no script; the same for every user."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final

from buildonce.debs import deb
from buildonce.debs.closure import names
from buildonce.errors import BuildError
from buildonce.system.archive import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.debs.deb import Deb, Member
    from buildonce.protocols import Progress

__all__ = ["unpack"]

# Texts for people, a third of all files, which no build reads.
_LEFT_OUT: Final = tuple(f"usr/share/{name}/" for name in ("doc", "info", "lintian", "locale", "man"))
_CHUNK: Final = 1 << 20


def unpack(paths: Sequence[Path], into: Path, progress: Progress) -> list[tuple[Deb, list[str]]]:
    """Unpack the packages at *paths*; answers each with its paths as in its ``data.tar``.

    Files belong to the caller, who can read and write all of them; setuid, setgid and write permission of
    others are dropped; times are constant. /usr is merged. Raises :class:`BuildError` when two packages own
    one file and neither replaces the other, :class:`VerificationError` for a package that is not sound.
    """
    root = _Root(into)
    sizes = {path: path.stat().st_size for path in paths}
    done, total = 0, sum(sizes.values())
    largest_first = sorted(paths, key=lambda path: (-sizes[path], path.name))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            unpacked = []
            for path, result in zip(largest_first, pool.map(root.lay, largest_first), strict=True):
                unpacked.append(result)
                done += sizes[path]
                progress.advance(path.name, done, total)
        except BaseException:
            root.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for name in deb.MERGED:
        if name in ("bin", "lib", "lib64", "sbin") or (into / "usr" / name).is_dir():
            root.folder(f"usr/{name}")
            (into / name).symlink_to(f"usr/{name}")
    return unpacked


class _Root:
    """The folder that is filled, by several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._folders: set[str] = set()
        self._owners: dict[str, Deb] = {}
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def lay(self, path: Path) -> tuple[Deb, list[str]]:
        """Unpack one package."""
        package = deb.read(path)
        paths: list[str] = []
        for original, stream in package.members():
            if self.stopped.is_set():
                break
            paths.append(original.path)
            member = deb.merge(original)
            if member is None or member.path.startswith(_LEFT_OUT):
                continue
            if member.kind == "folder":
                self.folder(member.path)
            elif self._claim(member.path, package):
                self.folder(os.path.dirname(member.path))  # noqa: PTH120  # 20 000 times: pathlib would take seconds
                self._write(member, stream, package)
        return package, paths

    def folder(self, path: str) -> None:
        """Make a folder and its parents, which are never links: a link in the way is an error, no way out."""
        if not path or path in self._folders:
            return
        self.folder(os.path.dirname(path))  # noqa: PTH120
        full = f"{self._path}/{path}"
        try:
            os.mkdir(full)  # noqa: PTH102
            os.chmod(full, 0o755)  # noqa: PTH101, S103  # what mkdir gives depends on the umask
        except FileExistsError:
            if os.path.islink(full) or not os.path.isdir(full):  # noqa: PTH112, PTH114
                raise _disagree(path) from None
        self._folders.add(path)

    def _claim(self, path: str, package: Deb) -> bool:
        """Whether *package* may write *path*, settled as dpkg does by Replaces, whichever comes first."""
        with self._lock:
            owner = self._owners.setdefault(path, package)
            if owner is package or _replaces(owner, package):
                return owner is package
            if not _replaces(package, owner):
                one, two = sorted((owner.name, package.name))
                raise BuildError(f"the OS packages {one} and {two} both own /{path}")
            self._owners[path] = package
            return True

    def _write(self, member: Member, stream: IO[bytes], package: Deb) -> None:
        try:
            self._create(member, stream)
        except FileExistsError:
            if self._owners[member.path] is not package:  # a package that replaces this file was quicker
                return
            try:
                os.unlink(f"{self._path}/{member.path}")  # noqa: PTH108
            except IsADirectoryError:
                raise _disagree(member.path) from None
            self._create(member, stream)

    def _create(self, member: Member, stream: IO[bytes]) -> None:
        full = f"{self._path}/{member.path}"
        if member.kind == "link":
            os.symlink(member.link, full)  # noqa: PTH211
        elif member.kind == "hardlink":
            os.link(f"{self._path}/{member.link}", full, follow_symlinks=False)
        else:
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as out:
                shutil.copyfileobj(stream, out, _CHUNK)
                os.fchmod(handle, member.mode & 0o755 | 0o600)
                os.utime(handle, (EPOCH, EPOCH))


def _disagree(path: str) -> BuildError:
    return BuildError(f"two OS packages disagree on /{path}: a folder in one, not in the other")


def _replaces(package: Deb, other: Deb) -> bool:
    return any(other.name in alternatives for alternatives in names(package.fields.get("Replaces", "")))
