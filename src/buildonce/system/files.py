"""Files: digests, atomic writes, trees of links. Nothing half-written is ever left under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from buildonce.model import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "copy_file",
    "replace_folder",
    "scratch",
    "sha256_bytes",
    "sha256_file",
    "sha256_stream",
    "write_atomically",
]

_CHUNK = 1 << 20


def sha256_file(path: Path) -> Digest:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest())


def sha256_stream(stream: IO[bytes]) -> Digest:
    """The sha256 of all that *stream* holds, from its beginning."""
    stream.seek(0)
    return Digest(hashlib.file_digest(stream, "sha256").hexdigest())  # type: ignore[arg-type]  # reads what IO has


def sha256_bytes(data: bytes) -> Digest:
    """The sha256 of *data*."""
    return Digest(hashlib.sha256(data).hexdigest())


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write *data* under *path* so that a reader sees all of it or nothing, with *mode* whatever the umask is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def copy_file(source: Path, destination: Path, *, mode: int | None = None) -> None:
    """Copy one file (a reflink where the file system has them), making its parents."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)
    destination.chmod(source.stat().st_mode & 0o777 if mode is None else mode)


def replace_folder(new: Path, final: Path) -> None:
    """Move the finished folder *new* to *final*; what was there before is gone only when *new* is in place."""
    if not final.exists():
        new.replace(final)
        return
    old = final.with_name(f".{final.name}.old-{os.getpid()}")
    final.replace(old)
    try:
        new.replace(final)
    except BaseException:
        old.replace(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder below *parent*, on its file system, gone afterwards unless it was moved away."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix}.", dir=parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
