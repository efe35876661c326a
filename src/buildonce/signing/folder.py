"""Reads the folder of a release as something a stranger may have filled: plain files only, sizes limited,
nothing unexpected.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from buildonce.errors import VerificationError
from buildonce.system import canonical

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["UNEXPECTED", "names", "read", "require_only", "require_plain"]

UNEXPECTED = "is no part of the release"


def read(folder: Path, name: str, most: int = canonical.MOST_BYTES) -> bytes:
    """The bytes of the file *name* (which may lie in a folder below), *most* at the largest.

    Raises :class:`VerificationError` when it is missing, a link, a pipe, or too large.
    """
    try:
        # A link could show other bytes to the next program; a pipe would wait for ever.
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise VerificationError("is missing", where=name) from error
    except OSError as error:
        raise VerificationError(f"cannot be read: {error.strerror}", where=name) from error
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise VerificationError("is not a plain file", where=name)
        data = stream.read(most + 1)
    if len(data) > most:
        raise VerificationError(f"is larger than the {most} bytes that are allowed", where=name)
    return data


def require_plain(folder: Path, name: str) -> None:
    """Raise :class:`VerificationError` unless *name* is a plain file in *folder*."""
    try:
        mode = (folder / name).lstat().st_mode
    except FileNotFoundError as error:
        raise VerificationError("is missing", where=name) from error
    if not stat.S_ISREG(mode):
        raise VerificationError("is not a plain file", where=name)


def names(folder: Path, place: str) -> list[str]:
    """What lies in the folder *place* below *folder*, sorted. Raises :class:`VerificationError` when it is no
    folder.
    """
    path = folder / place
    if path.is_symlink() or not path.is_dir():
        raise VerificationError("is not a folder" if path.exists() else "is missing", where=place)
    return sorted(entry.name for entry in path.iterdir())


def require_only(folder: Path, place: str, allowed: Collection[str]) -> None:
    """Raise :class:`VerificationError` for the first thing in *place* that is not *allowed*."""
    for name in names(folder, place):
        if name not in allowed:
            raise VerificationError(UNEXPECTED, where=f"{place}/{name}".removeprefix("./"))
