"""What publishers into a folder share: one at a time, whole files or none, and what is wrong with the disk in words."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Disk", "flush"]

_ASIDE: Final = ".incoming"
_PIECE: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Disk:
    """The folder *root* of a destination; it has to be there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def aside(self) -> Path:
        """A folder in it that nobody looks at."""
        return self.root / _ASIDE

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of the folder (flock(2)): it ends with this process, however that ends."""
        with self.explained():
            lock = self._lock()
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def make(self, folder: Path) -> None:
        """Make *folder*, below the destination, with the destination's mode, whatever the umask is."""
        missing = [one for one in (folder, *folder.parents) if one.is_relative_to(self.root) and not one.exists()]
        for one in reversed(missing):
            with suppress(FileExistsError):
                one.mkdir()
                one.chmod(self.root.stat().st_mode & 0o7777)

    def copy(self, source: Path, place: Path, came: Callable[[int], None]) -> None:
        """All of *source* under *place*, flushed to the disk, or nothing."""
        with source.open("rb") as file, self._whole(place) as out:
            while piece := file.read(_PIECE):
                out.write(piece)
                came(out.tell())

    def put(self, place: Path, data: bytes) -> None:
        """Have *data* under *place*, flushed to the disk; nothing is written when that is there."""
        if not place.is_file() or place.read_bytes() != data:
            with self._whole(place) as out:
                out.write(data)

    def require_access(self) -> None:
        """Raise when the folder is not there, or OSError when it cannot be written."""
        if not self.root.is_dir():
            raise ReleaseError(
                "there is no such folder",
                where=str(self.root),
                hint=f"mount it, or make it: mkdir -p {self.root}",  # not made here: it may be a mount that is missing
            )
        probe = self.aside if self.aside.exists() else self.root
        if not os.access(probe, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it must not be written", str(self.root))

    def require_room(self, wanted: int) -> None:
        """Raise OSError unless *wanted* bytes are free."""
        free = shutil.disk_usage(self.root).free
        if free < wanted:
            raise OSError(errno.ENOSPC, f"{wanted} bytes are needed, {free} are free", str(self.root))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the disk refuses, as an error of the destination."""
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
            raise ReleaseError(message, where=str(self.root), hint=hint) from error

    @contextmanager
    def _whole(self, place: Path) -> Iterator[IO[bytes]]:
        """A file that appears under *place* when all of it is on the disk. Its name aside is always the same: what a
        process that was killed has left there is written again.
        """
        self.make(place.parent)
        part = place.with_name(f".{place.name}.part")
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.chmod(0o644)
        part.rename(place)

    def _lock(self) -> IO[str]:
        """The file of the lock, which all can open who may write to the destination."""
        place = self.aside / "lock"
        self.make(place.parent)
        new = not place.exists()
        lock = place.open("a")
        if new:
            os.fchmod(lock.fileno(), self.root.stat().st_mode & 0o666)
        return lock


def flush(folder: Path) -> None:
    """A rename is safe from a power cut only when the folder is flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # some network file systems cannot
        os.fsync(handle)
    os.close(handle)
