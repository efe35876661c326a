"""The publisher for package indexes.

Dependencies come first: each is whole by itself. The release's own files come last. On devpi they wait in an index of
their own, ``USER/buildonce-<digest>``, from which one push shows all of them at once; any other index has no such
thing: there the wheel appears, then the sdist, when all else is there.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from buildonce import manifest
from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers.index import contents
from buildonce.publishers.index.promotion import promote
from buildonce.publishers.parcels import Parcel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.protocols import Progress
    from buildonce.publishers import Publisher
    from buildonce.publishers.index.contents import Item
    from buildonce.publishers.index.devpi import Devpi
    from buildonce.publishers.index.packages import PackageIndex
    from buildonce.publishers.parcels import Outgoing
    from buildonce.system.archive import Part

__all__ = ["IndexPublisher"]


class IndexPublisher:
    """See :class:`buildonce.publishers.Publisher`. *distribution* is how an index calls the project."""

    def __init__(self, index: PackageIndex, distribution: str, progress: Progress) -> None:
        self.index = index
        self._distribution = canonicalize_name(distribution)
        self._progress = progress
        self._opening = threading.Lock()
        self._asides: dict[Digest, Devpi | None] = {}
        self._moved = False
        self._zips: dict[Digest, bytes] = {}

    @property
    def place(self) -> str:
        """The address."""
        return self.index.place

    @contextmanager
    def alone(self) -> Iterator[None]:
        """An index takes care of that itself: two that send the same do no harm."""
        yield

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`."""
        items = self._items(release)
        self.index.require_access()
        missing = self.index.missing(items, release.digest)
        return tuple(
            Parcel(name=one.filename, sha256=one.sha256, size=one.size, there=one not in missing) for one in items
        )

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        item = next(one for one in self._items(release) if one.filename == parcel.name)
        if item.archive:
            self.index.upload(item, contents.source(item, release), came)
        elif (aside := self._aside(release)) and not _has(aside, [item]):
            self.index.upload(item, self._source(item, release), came, to=aside)
        came(parcel.size)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`."""
        self.index.stop()

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        aside = self._aside(release)
        try:
            self._reveal(release, aside)
        except VerificationError:
            if aside:
                aside.delete()  # what waits there will never be shown
            raise
        if aside:
            aside.delete()

    def _reveal(self, release: Outgoing, aside: Devpi | None) -> None:
        own = self._own(release)
        missing = self.index.missing(own, release.digest)
        if aside and self.index.devpi and len(missing) == len(own) and _has(aside, own):
            refused = aside.push(own[0].project, own[0].version, self.index.devpi)
            missing = self.index.missing(own, release.digest)
            if refused and missing:
                raise refused
        for one in missing:
            self.index.upload(one, self._source(one, release), lambda _: None)

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`."""
        self.index.compare(self._items(release), release.digest)

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """See :meth:`buildonce.publishers.Publisher.use`."""
        version = release.manifest.version.pep440
        return (f"pip install --index-url {self.index.simple} {self._distribution}=={version}",)

    def collect(self, name: str, version: str, into: Path) -> None:
        """See :meth:`buildonce.publishers.Shelf.collect`: the documents, the wheel and the sdist."""
        into.mkdir(parents=True)
        if not self.index.documents(self._distribution, version, into):
            hint = "" if self.index.devpi else "only devpi keeps the documents that are verified: promote from there"
            raise ReleaseError(f"{name} {version} is not published there", where=self.place, hint=hint)
        for one in contents.own(manifest.read((into / manifest.FILE).read_bytes())):
            self.index.bring(one, into)

    def note(self, name: str, version: str, file: str, data: bytes) -> str:  # noqa: ARG002 - devpi keeps its own
        """See :meth:`buildonce.publishers.Shelf.note`: the log of devpi says who moved what, when and from where."""
        if not (self._moved and self.index.devpi):
            return ""
        return f"{self.index.devpi.url}{self._distribution}/{version}"

    def draw(self, source: Publisher, release: Outgoing, progress: Progress) -> tuple[Parcel, ...] | None:
        """See :meth:`buildonce.publishers.Drawing.draw`."""
        if not isinstance(source, IndexPublisher):
            return None
        parcels = promote(source.index, self.index, release.manifest, release.digest, progress)
        self._moved = not all(one.there for one in parcels)
        return parcels

    def _items(self, release: Outgoing) -> tuple[Item, ...]:
        own = self._own(release)
        return (*(one for one in self.index.of(release.manifest) if one.archive), *own)

    def _own(self, release: Outgoing) -> tuple[Item, ...]:
        """The documents before what they vouch for."""
        own = contents.own(release.manifest)
        return (contents.documents_item(release, self._zip(release)), *own) if self.index.devpi else own

    def _zip(self, release: Outgoing) -> bytes:
        if release.digest not in self._zips:
            self._zips[release.digest] = contents.documents(release)
        return self._zips[release.digest]

    def _source(self, item: Item, release: Outgoing) -> Path | Part | bytes:
        return self._zip(release) if item.kind == "documents" else contents.source(item, release)

    def _aside(self, release: Outgoing) -> Devpi | None:
        """Where the release's own files wait; None where there can be no such place, or nothing is to be hidden."""
        with self._opening:
            if release.digest not in self._asides:
                self._asides[release.digest] = self._opened(release)
            return self._asides[release.digest]

    def _opened(self, release: Outgoing) -> Devpi | None:
        if not self.index.devpi or not (user := self.index.devpi.user()):
            return None
        own = self._own(release)
        aside = self.index.devpi.beside(f"{user}/buildonce-{release.digest[:16]}")
        if len(self.index.missing(own, release.digest)) < len(own):
            return aside if aside.settings() is not None else None
        if aside.create():
            return aside
        self._progress.note(
            f"{user} may not make an index on {self.place}: the files of the release appear one after the other"
        )
        return None


def _has(index: Devpi, items: Sequence[Item]) -> bool:
    """Whether the index has all of *items*, of one version."""
    found = index.held(items[0].project, items[0].version)
    return all(one.filename in found and found[one.filename].sha256 == one.sha256 for one in items)
