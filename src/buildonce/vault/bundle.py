"""A vault in one file: an uncompressed tar with the layout of a folder vault, to be carried anywhere.

Its bytes follow from the lock alone. Unpacked, it is a folder vault; as it is, it can be read from.
"""

from __future__ import annotations

import errno
import tarfile
import threading
from typing import IO, TYPE_CHECKING, Final, cast

from buildonce.errors import ReleaseError, VerificationError
from buildonce.system import files
from buildonce.system.archive import Member, write_tar
from buildonce.system.net import Interrupted
from buildonce.vault.contents import file_place, listing_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from buildonce.model import Digest, RemoteFile
    from buildonce.protocols import Progress
    from buildonce.vault.contents import Contents

__all__ = ["BundleVault", "write"]

_CHUNK: Final = 1 << 20
_FILES: Final = 4  # files/ab/<sha256>/<name>


class BundleVault:
    """See :class:`buildonce.protocols.Vault`; read only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._places: Mapping[str, tuple[int, int]] | None = None

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    def bring(self, file: RemoteFile, part: Path, *, came: Callable[[int], None], stop: threading.Event) -> bool:
        """See :meth:`buildonce.protocols.Vault.bring`."""
        place = self._members().get(file.sha256)
        if place is None:
            return False
        start, size = place
        with self._open() as source, part.open("r+b") as out:
            out.truncate()
            source.seek(start)
            while size > 0:
                piece = self._read(source, min(_CHUNK, size), file)
                if stop.is_set():
                    raise Interrupted
                out.write(piece)
                came(out.tell())
                size -= len(piece)
        return True

    def listing(self, digest: Digest) -> bytes | None:
        """The listing of the lock *digest*, or None when its inputs are not kept here."""
        place = self._members().get(listing_place(digest))
        if place is None:
            return None
        with self._open() as source:
            source.seek(place[0])
            return source.read(place[1])

    def _read(self, source: IO[bytes], count: int, file: RemoteFile) -> bytes:
        try:
            piece = source.read(count)
        except OSError as error:
            raise VerificationError(f"{file.filename} cannot be read: {error.strerror}", where=self.name) from error
        if not piece:
            raise VerificationError(f"{file.filename} is cut off", where=self.name)
        return piece

    def _open(self) -> IO[bytes]:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise ReleaseError(f"the vault cannot be read: {error.strerror}", where=self.name) from error

    def _members(self) -> Mapping[str, tuple[int, int]]:
        """Start and size by sha256; of anything else, by its name."""
        with self._reading:
            if self._places is None:
                self._places = self._list()
            return self._places

    def _list(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        with self._open() as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    for member in archive:
                        parts = member.name.split("/")
                        key = parts[2] if parts[0] == "files" and len(parts) == _FILES else member.name
                        if member.isreg():
                            found[key] = (member.offset_data, member.size)
            except tarfile.TarError as error:
                raise ReleaseError(f"this is not a bundle of inputs: {error}", where=self.name) from error
        return found


def write(path: Path, contents: Contents, progress: Progress) -> None:
    """Write the bundle of *contents* to *path*, all of it or nothing. Raises :class:`ReleaseError` on a full disk."""
    members = [Member(path=file_place(one.sha256, one.name), source=one.path) for one in contents.inputs]
    members.append(Member(path=listing_place(contents.digest), source=contents.listing))
    try:
        with files.scratch(path.parent, path.name) as aside:
            unfinished = aside / path.name
            with unfinished.open("wb") as out:
                counted = _Counted(
                    out, lambda done: progress.advance("bundle", min(done, contents.size), contents.size)
                )
                write_tar(cast("IO[bytes]", counted), members)
            unfinished.chmod(0o644)
            unfinished.replace(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ReleaseError(
            "the disk is full" if full else f"the bundle cannot be written: {error.strerror}",
            where=str(path),
            hint=f"{contents.size} bytes are needed; name another place with --out" if full else "",
        ) from error


class _Counted:
    """A file that says how much was written to it."""

    def __init__(self, out: IO[bytes], came: Callable[[int], None]) -> None:
        self._out, self._came = out, came

    def write(self, data: bytes) -> int:
        count = self._out.write(data)
        self._came(self._out.tell())
        return count
