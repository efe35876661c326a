"""Where one release is made: a folder beside the finished ones, for one build at a time, gone whatever happens.

What the tools said in a failed build is kept in the store, because the end of a log rarely tells everything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from buildonce.errors import BuildError, ReleaseError, RootFullError
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.system.store import Store

__all__ = ["LOGS", "opened"]

LOGS: Final = "log"  # the folder for logs in the workplace
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_TOLD_BY_TOOLS: Final = os.strerror(errno.ENOSPC)


@contextlib.contextmanager
def opened(out: Path, name: str, store: Store) -> Iterator[Path]:
    """A new empty folder in *out*, where the releases of *name* go, on the same file system.

    Raises :class:`ReleaseError` when another build is running in *out*, or when *out* or *store* cannot be
    written or is full. A failed build's logs stay below ``logs/`` in *store*, and its error leads there.
    """
    with _alone(out):
        for abandoned in out.glob(f".{name}.*"):  # by a build that was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        with (
            _explaining_full_disks(out, store.root),
            files.scratch(out, name) as work,
            _keeping_logs(work / LOGS, store.root / "logs" / f"{name}-{files.sha256_bytes(os.fsencode(out))[:8]}"),
        ):
            yield work


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of the folder *out*, so that two builds in one checkout cannot mix."""
    with _lock_file(out) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise ReleaseError(
                f"another build is running here (process {handle.read().strip() or 'unknown'})",
                where=str(out),
                hint="wait for it, or build into another folder with --out",
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _lock_file(out: Path) -> TextIO:
    try:
        if not out.exists():
            out.mkdir(parents=True)
            (out / ".gitignore").write_text("*\n")  # else the next `git add --all` commits the artifacts
        return (out / ".lock").open("a+")
    except OSError as error:
        raise ReleaseError(
            f"no release can be written there: {error.strerror}",
            where=str(out),
            hint="build into a folder that can be written with --out",
        ) from error


@contextlib.contextmanager
def _keeping_logs(logs: Path, kept: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        with contextlib.suppress(OSError):
            if logs.is_dir():
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(logs, kept)
        if isinstance(error, ReleaseError) and error.log_path:
            place = Path(error.log_path)
            moved = kept / place.relative_to(logs) if place.is_relative_to(logs) else place
            error.log_path = str(moved) if moved.is_file() else ""
        raise


@contextlib.contextmanager
def _explaining_full_disks(*places: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full(places) from error
    except BuildError as error:
        if _TOLD_BY_TOOLS not in error.log or isinstance(error, RootFullError):
            raise
        raise _full(places) from error


def _full(places: tuple[Path, ...]) -> ReleaseError:
    fullest = min(places, key=lambda place: shutil.disk_usage(place).free)
    return ReleaseError(
        "the disk is full",
        where=str(fullest),
        hint="free some space, or use another disk: --out for releases, BUILDONCE_STORE for the store",
    )
