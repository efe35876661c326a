"""A vault in a folder: on this disk, on NFS, or behind any web server.

Many may write at once, from several machines: a file is written aside, flushed to the disk, and linked to its place,
which is atomic and never replaces what is there (link(2); so that NFS needs no locks). Only a file whose bytes are not
those of its name is replaced. Folders get the mode of the vault's own folder: who may write there may write
everywhere.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from buildonce.errors import ReleaseError, VerificationError
from buildonce.system import files
from buildonce.system.net import Interrupted
from buildonce.vault.contents import Amount, Kept, file_place, listing_place

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import Digest, RemoteFile
    from buildonce.protocols import Progress
    from buildonce.vault.contents import Contents, Input

__all__ = ["FolderVault"]

_CHUNK: Final = 1 << 20
_WRITERS: Final = 4
_ASIDE: Final = ".incoming"
_ABANDONED: Final = 24 * 3600  # seconds after which what a killed writer left is removed
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class DeniedError(ReleaseError):
    """This user may read the vault, not write it."""


class FolderVault:
    """See :class:`buildonce.protocols.Vault`; *root* has to be there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    def bring(self, file: RemoteFile, part: Path, *, came: Callable[[int], None], stop: threading.Event) -> bool:
        """See :meth:`buildonce.protocols.Vault.bring`."""
        source = self._find(file.sha256, file.filename)
        if source is None:
            return False
        with part.open("r+b") as out:
            out.truncate()
            for piece in _pieces(source):
                if stop.is_set():
                    raise Interrupted
                out.write(piece)
                came(out.tell())
        return True

    def listing(self, digest: Digest) -> bytes | None:
        """The listing of the lock *digest*, or None when its inputs are not kept here."""
        self._require()
        try:
            return (self._root / listing_place(digest)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ReleaseError(f"the vault cannot be read: {error.strerror}", where=self.name) from error

    def keep(self, contents: Contents, progress: Progress, *, thorough: bool) -> Kept:
        """Put in what is not there. With *thorough* the bytes of what is there are read, and mended.

        The listing comes last: where it is, all is. Raises :class:`DeniedError` when this user may not write here,
        :class:`ReleaseError` when the disk is full; no file is ever there by half.
        """
        self._require()
        amount = Amount(contents.size, lambda done, total: progress.advance("keeping", done, total))
        with self._explained(), self._aside() as aside:
            with ThreadPoolExecutor(_WRITERS) as pool:
                jobs = [pool.submit(self._put, one, aside, amount, thorough=thorough) for one in contents.inputs]
                try:
                    added = [one for one, job in zip(contents.inputs, jobs, strict=True) if job.result()]
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            self._put_listing(contents, aside)
        return Kept(
            vault=self.name, files=len(contents.inputs), added=len(added), added_bytes=sum(one.size for one in added)
        )

    def _find(self, sha256: str, filename: str) -> Path | None:
        """The file with these bytes, whatever it is called here."""
        path = self._root / file_place(sha256, filename)
        try:
            found = path if path.is_file() else next((p for p in sorted(path.parent.iterdir()) if p.is_file()), None)
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise VerificationError(f"{filename} cannot be read: {error.strerror}", where=str(path)) from error
        if found is None:
            self._require()
        return found

    def _require(self) -> None:
        if not self._root.is_dir():
            raise ReleaseError(
                "there is no such folder",
                where=self.name,
                hint=f"mount it, or make it: mkdir -p {self.name}",  # not made here: it may be a mount that is missing
            )

    def _put(self, one: Input, aside: Path, amount: Amount, *, thorough: bool) -> bool:
        """Put in one file; answers whether it was missing or wrong."""
        place, came = self._root / file_place(one.sha256, one.name), amount.of(one.sha256)
        wrong = False
        if place.exists():
            wrong = files.sha256_file(place) != one.sha256 if thorough else place.stat().st_size != one.size
            if not wrong:
                came(one.size)
                return False
        self._folder(place.parent)
        written = aside / one.sha256
        with written.open("xb") as out:
            for piece in _pieces(one.path):
                out.write(piece)
                came(out.tell())
            out.flush()
            os.fsync(out.fileno())
        written.chmod(0o644)
        if wrong:
            written.replace(place)
        else:
            _link(written, place)
        return True

    def _put_listing(self, contents: Contents, aside: Path) -> None:
        place = self._root / listing_place(contents.digest)
        self._folder(place.parent)
        written = aside / "listing"
        written.write_bytes(contents.listing)
        written.chmod(0o644)
        written.replace(place)

    def _folder(self, folder: Path) -> None:
        """Make *folder* with the mode of the vault's own, whatever the umask is."""
        missing = [folder, *folder.parents][: len(folder.relative_to(self._root).parts)]
        mode = self._root.stat().st_mode & 0o7777
        for one in reversed(missing):
            with suppress(FileExistsError):
                one.mkdir()
                one.chmod(mode)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A folder of our own in the vault, on its file system."""
        self._folder(self._root / _ASIDE)
        for left in (self._root / _ASIDE).iterdir():
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(left, ignore_errors=True)
        mine = self._root / _ASIDE / uuid.uuid4().hex
        mine.mkdir()
        try:
            yield mine
        finally:
            shutil.rmtree(mine, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                message, hint = "the disk of the vault is full", "free some space there and run the same line again"
                raise ReleaseError(message, where=self.name, hint=hint) from error
            if error.errno in _DENIED:
                message, hint = "the vault cannot be written by this user", "look at the owner and mode of its folder"
                raise DeniedError(message, where=self.name, hint=hint) from error
            raise ReleaseError(f"the vault cannot be written: {error.strerror}", where=self.name) from error


def _pieces(path: Path) -> Iterator[bytes]:
    """The bytes of *path*; that it cannot be read is an error of its own, apart from what cannot be written."""
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece
    except OSError as error:
        raise VerificationError(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from error


def _link(written: Path, place: Path) -> None:
    """Give the finished file its place unless another writer was first: what is there has the same bytes."""
    try:
        os.link(written, place)
    except FileExistsError:
        pass
    except OSError as error:
        # NFS may lose the answer of a link that was made (open(2), O_EXCL).
        if written.stat().st_nlink > 1:
            return
        if error.errno not in _NO_LINKS:
            raise
        written.replace(place)
