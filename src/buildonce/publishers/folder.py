"""Publishes into a folder: on this disk, on a mounted one, behind any web server.

A release appears as ``<name>/<version>/`` by one rename(2) of a folder that was written and flushed aside, so that
a reader sees all of it or nothing; then ``<name>/index.html`` lists it for people. Signatures that others add later
are added; no file that is there is ever written again. The logs stay behind: nobody signed them.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from buildonce.errors import ReleaseError
from buildonce.publishers import page
from buildonce.publishers.parcels import Parcel, require_same
from buildonce.signing import sums
from buildonce.system import files
from buildonce.system.disk import Disk, flush

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from buildonce.publishers.parcels import Outgoing

__all__ = ["FolderPublisher"]


class FolderPublisher:
    """See :class:`buildonce.publishers.Publisher`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._disk = Disk(root)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._root)

    def alone(self) -> AbstractContextManager[None]:
        """See :meth:`buildonce.publishers.Publisher.alone`."""
        return self._disk.alone()

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`."""
        with self._disk.explained():
            self._disk.require_access()
            final = self._final(release)
            parcels = tuple(_parcel(path, release, final) for path in release.sent())
            self._disk.require_room(sum(one.size for one in parcels if not one.there))
        return parcels

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        final = self._final(release)
        place = (final if final.is_dir() else self._aside(release)) / parcel.name
        with self._disk.explained():
            if not place.is_file() or files.sha256_file(place) != parcel.sha256:
                self._disk.copy(release.folder / parcel.name, place, came)
        came(parcel.size)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`. Copying a file is not long enough to be stopped."""

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        final, aside = self._final(release), self._aside(release)
        with self._disk.explained():
            if not final.is_dir():
                self._disk.make(final.parent)
                aside.rename(final)
                flush(final.parent)
            shutil.rmtree(aside, ignore_errors=True)
            page.write(final.parent)

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`."""
        final = self._final(release)
        with self._disk.explained():
            for name, expected in release.files.items():
                require_same(files.sha256_file(final / name), expected, where=str(final / name))

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """See :meth:`buildonce.publishers.Publisher.use`."""
        return (str(self._final(release)),)

    def collect(self, name: str, version: str, into: Path) -> None:
        """See :meth:`buildonce.publishers.Shelf.collect`."""
        place = self._root / name / version
        with self._disk.explained():
            if not (place / sums.FILE).is_file():
                raise ReleaseError(f"{name} {version} is not published there", where=self.place)
            shutil.copytree(place, into, symlinks=True)

    def note(self, name: str, version: str, file: str, data: bytes) -> str:
        """See :meth:`buildonce.publishers.Shelf.note`."""
        place = self._root / name / f"{version}.promotions" / file
        if place.exists():
            return ""
        with self._disk.explained():
            self._disk.put(place, data)
        return str(place)

    def _final(self, release: Outgoing) -> Path:
        return self._root / release.manifest.name / release.manifest.version.pep440

    def _aside(self, release: Outgoing) -> Path:
        """Where these very bytes are made ready: what an earlier run has left there is of use."""
        return self._disk.aside / f"{release.folder.name}-{release.digest[:16]}"


def _parcel(path: Path, release: Outgoing, final: Path) -> Parcel:
    """The file *path*, and whether it is in *final*. Signatures made anew are as good as those that are there."""
    name = str(path.relative_to(release.folder))
    signed = release.files.get(name)
    place = final / name
    there = place.is_file()
    if there and signed:
        require_same(files.sha256_file(place), signed, where=str(place))
    return Parcel(name=name, sha256=signed or files.sha256_file(path), size=path.stat().st_size, there=there)
