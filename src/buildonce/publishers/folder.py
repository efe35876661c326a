"""Publishes into a folder: on this disk, on a mounted one, behind any web server.

A release appears as ``<name>/<version>/`` by one rename(2) of a folder that was written and flushed aside, so that
a reader sees all of it or nothing; then ``<name>/index.html`` lists it for people. Signatures that others add later
are added; no file that is there is ever written again. The logs stay behind: nobody signed them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import ReleaseError
from buildonce.publishers import page
from buildonce.publishers.parcels import Parcel, require_same
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.publishers.parcels import Outgoing

__all__ = ["FolderPublisher"]

_ASIDE: Final = ".incoming"
_LOGS: Final = "log"
_PIECE: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class FolderPublisher:
    """See :class:`buildonce.publishers.Publisher`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._root)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of the folder (flock(2)): it ends with this process, however that ends."""
        with self._explained():
            lock = self._lock()
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`."""
        with self._explained():
            self._require_access()
            final = self._final(release)
            parcels = tuple(_parcel(path, release, final) for path in _sent(release))
            self._require_room(sum(one.size for one in parcels if not one.there))
        return parcels

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        final = self._final(release)
        place = (final if final.is_dir() else self._aside(release)) / parcel.name
        with self._explained():
            if not place.is_file() or files.sha256_file(place) != parcel.sha256:
                _make(place.parent, self._root)
                _copy(release.folder / parcel.name, place, came)
        came(parcel.size)

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        final, aside = self._final(release), self._aside(release)
        with self._explained():
            if not final.is_dir():
                _make(final.parent, self._root)
                aside.rename(final)
                _flush(final.parent)
            shutil.rmtree(aside, ignore_errors=True)
            page.write(final.parent)

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`."""
        final = self._final(release)
        with self._explained():
            for name, expected in release.files.items():
                require_same(files.sha256_file(final / name), expected, where=str(final / name))

    def _final(self, release: Outgoing) -> Path:
        return self._root / release.manifest.name / release.manifest.version.pep440

    def _aside(self, release: Outgoing) -> Path:
        """Where these very bytes are made ready: what an earlier run has left there is of use."""
        return self._root / _ASIDE / f"{release.folder.name}-{release.digest[:16]}"

    def _lock(self) -> IO[str]:
        """The file of the lock, which all can open who may write to the destination."""
        place = self._root / _ASIDE / "lock"
        _make(place.parent, self._root)
        new = not place.exists()
        lock = place.open("a")
        if new:
            os.fchmod(lock.fileno(), self._root.stat().st_mode & 0o666)
        return lock

    def _require_access(self) -> None:
        if not self._root.is_dir():
            raise ReleaseError(
                "there is no such folder",
                where=self.place,
                hint=f"mount it, or make it: mkdir -p {self.place}",  # not made here: it may be a mount that is missing
            )
        probe = self._root / _ASIDE
        if not os.access(probe if probe.exists() else self._root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it must not be written", self.place)

    def _require_room(self, wanted: int) -> None:
        free = shutil.disk_usage(self._root).free
        if free < wanted:
            raise OSError(errno.ENOSPC, f"{wanted} bytes are needed, {free} are free", self.place)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                message, hint = "the destination's disk is full", "free some space there and run the same line again"
            elif error.errno in _DENIED:
                message = "the destination cannot be written by this user"
                hint = "look at the owner and mode of its folder, and whether it is mounted read-only"
            else:
                message, hint = f"the destination cannot be written: {error.strerror or error}", ""
            raise ReleaseError(message, where=self.place, hint=hint) from error


def _sent(release: Outgoing) -> list[Path]:
    """All files but the logs, artifacts first."""
    found = [path for path in release.folder.rglob("*") if path.is_file()]
    return sorted(
        (path for path in found if path.relative_to(release.folder).parts[0] != _LOGS),
        key=lambda path: (path.name not in release.files, str(path)),
    )


def _parcel(path: Path, release: Outgoing, final: Path) -> Parcel:
    """The file *path*, and whether it is in *final*. Signatures made anew are as good as those that are there."""
    name = str(path.relative_to(release.folder))
    signed = release.files.get(name)
    place = final / name
    there = place.is_file()
    if there and signed:
        require_same(files.sha256_file(place), signed, where=str(place))
    return Parcel(name=name, sha256=signed or files.sha256_file(path), size=path.stat().st_size, there=there)


def _make(folder: Path, root: Path) -> None:
    """Make *folder*, below *root*, with the mode of *root*, whatever the umask is."""
    missing = [one for one in (folder, *folder.parents) if one.is_relative_to(root) and not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir()
            one.chmod(root.stat().st_mode & 0o7777)


def _copy(source: Path, place: Path, came: Callable[[int], None]) -> None:
    """All of *source*, flushed to the disk, or nothing."""
    part = place.with_name(f".{place.name}.part")
    with source.open("rb") as file, part.open("wb") as out:
        while piece := file.read(_PIECE):
            out.write(piece)
            came(out.tell())
        out.flush()
        os.fsync(out.fileno())
    part.chmod(0o644)
    part.rename(place)


def _flush(folder: Path) -> None:
    """A rename is safe from a power cut only when the folder is flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # some network file systems cannot
        os.fsync(handle)
    os.close(handle)
