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

__all__ = ["ASIDE", "Disk", "copy", "flush", "put"]

ASIDE: Final = ".incoming"
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
        return self.root / ASIDE

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of the folder (flock(2)): it ends with this process, however that ends."""
        with self.explained():
            self.aside.mkdir(exist_ok=True)
            lock = (self.aside / "lock").open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

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


def copy(source: Path, place: Path, came: Callable[[int], None]) -> None:
    """All of *source*, flushed to the disk, or nothing."""
    with source.open("rb") as file, _whole(place) as out:
        while piece := file.read(_PIECE):
            out.write(piece)
            came(out.tell())


def put(place: Path, data: bytes) -> None:
    """Have *data* under *place*, flushed to the disk; nothing is written when that is there."""
    if not place.is_file() or place.read_bytes() != data:
        with _whole(place) as out:
            out.write(data)


@contextmanager
def _whole(place: Path) -> Iterator[IO[bytes]]:
    """A file that appears under *place* when all of it is on the disk. Its name aside is always the same: what a
    process that was killed has left there is written again.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    with part.open("wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())
    part.chmod(0o644)
    part.rename(place)


def flush(folder: Path) -> None:
    """A rename is safe from a power cut only when the folder is flushed too (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # some network file systems cannot
        os.fsync(handle)
    os.close(handle)
