"""A package index: what it has, what it lacks, and how a file gets there and back."""

from __future__ import annotations

import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.version import Version

from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers.index import contents, simple
from buildonce.publishers.index.devpi import Devpi
from buildonce.publishers.index.form import asking, uploading
from buildonce.publishers.index.web import DENIED, Web, done
from buildonce.publishers.parcels import require_same
from buildonce.signing import sums
from buildonce.system import files
from buildonce.system.net import Interrupted, RefusedError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from buildonce.destinations import IndexDestination
    from buildonce.manifest import Manifest
    from buildonce.model import Digest
    from buildonce.publishers.index.contents import Item
    from buildonce.publishers.index.form import Form
    from buildonce.publishers.index.simple import Held
    from buildonce.system.archive import Part
    from buildonce.system.net import Net

__all__ = ["PackageIndex"]

_STREAMS: Final = 4
_LOOKS: Final = 5  # an index may show a file some seconds after it took it
_NO_UPLOADS: Final = (404, 405, 501)


class PackageIndex:
    """The index that *destination*, called *name*, tells of. Safe to use from several threads.

    Every method raises :class:`ReleaseError` when the index cannot be reached or says no. *digest* is everywhere that
    of a release's SHA256SUMS.
    """

    def __init__(self, name: str, destination: IndexDestination, net: Net) -> None:
        self.web = Web(name, destination.url, net)
        self.devpi = Devpi.at(self.web) if destination.type == "devpi" else None
        self.wheelhouse = destination.wheelhouse
        below = "+simple/" if self.devpi else "simple/"
        self._stopped = threading.Event()
        self.simple = destination.simple or f"{destination.url.rstrip('/')}/{below}"

    @property
    def place(self) -> str:
        """The address."""
        return shown(self.web.url)

    def require_access(self) -> None:
        """Raise :class:`ReleaseError` unless there is an index to which this user may upload. Changes nothing."""
        if self.devpi:
            self.devpi.require()
        form = asking()
        answer = self.web.ask("POST", self.web.url, headers=form.headers, body=form.pieces)
        if answer.status in DENIED:
            raise self.web.refusal(answer, self.place)
        if answer.status in _NO_UPLOADS:
            raise RefusedError(
                f"no index takes uploads here ({answer.status})",
                status=answer.status,
                where=self.place,
                hint='the key "url" of the destination names the address that twine uploads to',
            )

    def missing(self, items: Iterable[Item], digest: Digest) -> list[Item]:
        """Those of *items* that the index has not; *digest* is that of the release's SHA256SUMS.

        Raises :class:`VerificationError` when it has other bytes under one of their names.
        """
        wanted = list(items)
        places = dict.fromkeys((one.project, one.version) for one in wanted)
        with ThreadPoolExecutor(_STREAMS) as pool:
            found = dict(zip(places, pool.map(lambda place: self.held(*place), places), strict=True))
        missing = []
        for one in sorted(wanted, key=lambda one: one.kind == "documents"):  # what they are of tells more
            there = found[one.project, one.version]
            if one.filename not in there:
                missing.append(one)
            else:
                self._require_same(one, there[one.filename], digest)
            if not one.archive:
                _require_only(wanted, there, one, self.place)
        return [one for one in wanted if one in missing]

    def held(self, project: str, version: str) -> Mapping[str, Held]:
        """File name → what the index has of a version."""
        if self.devpi:
            return self.devpi.held(project, version)
        listed = simple.held(self.web, self.simple, project)
        return {name: one for name, one in listed.items() if simple.version_of(name) == Version(version)}

    def upload(
        self, item: Item, source: Path | Part | bytes, came: Callable[[int], None], *, to: Devpi | None = None
    ) -> None:
        """Send *item*. Whatever the answer is: when the index has these bytes then, it is done.

        Raises :class:`VerificationError` when it has others, :class:`ReleaseError` when it has none.
        """
        form = uploading(item, source)
        url = to.url if to else self.web.url
        try:
            answer = self.web.ask("POST", url, headers=form.headers, body=lambda: self._pieces(form, came))
        except ReleaseError as error:
            refused = error
        else:
            if done(answer):
                return
            refused = self.web.refusal(answer, f"{url.rstrip('/')}/{item.filename}")
        found = self.held(item.project, item.version).get(item.filename)
        if found is None:
            raise refused
        if item.kind != "documents":
            require_same(self._digest(found), item.sha256, where=shown(found.url))

    def stop(self) -> None:
        """End every upload that is under way, with :class:`Interrupted`."""
        self._stopped.set()

    def _pieces(self, form: Form, came: Callable[[int], None]) -> Iterator[bytes]:
        for piece in form.pieces(came):
            if self._stopped.is_set():
                raise Interrupted
            yield piece

    def compare(self, items: Iterable[Item], digest: Digest) -> None:
        """Fetch *items* as pip does, and compare. Raises :class:`VerificationError`."""
        wanted = list(items)
        missing = self.missing(wanted, digest)
        for look in range(1, _LOOKS):
            if not missing or threading.Event().wait(self.web.net.pause_after(look)):
                break
            missing = self.missing(wanted, digest)
        if missing:
            raise VerificationError(f"{missing[0].filename} was sent, but is not there", where=self.place)
        projects = dict.fromkeys(one.project for one in wanted)
        with ThreadPoolExecutor(_STREAMS) as pool:
            listed = dict(
                zip(projects, pool.map(lambda one: simple.held(self.web, self.simple, one), projects), strict=True)
            )
            list(pool.map(lambda one: self._compare(one, listed[one.project], digest), wanted))

    def documents(self, project: str, version: str, into: Path) -> bool:
        """Unpack the documents of a version into the folder *into*; False when the index has none. Nobody has
        checked them.
        """
        found = self.held(project, version).get(f"{project}-{version}{contents.DOCUMENTS}")
        if found is None:
            return False
        with self._fetched(found.url) as path, self._readable(found.url), zipfile.ZipFile(path) as archive:
            archive.extractall(into)
        return True

    def bring(self, item: Item, into: Path) -> Path:
        """Fetch *item* into the folder *into*, as it should be. Raises :class:`VerificationError`."""
        found = self.held(item.project, item.version).get(item.filename)
        if found is None:
            raise VerificationError(f"{item.filename} is not there", where=self.place)
        path = into / item.filename
        self.web.download(found.url, path)
        require_same(files.sha256_file(path), item.sha256, where=shown(found.url))
        return path

    def of(self, said: Manifest) -> tuple[Item, ...]:
        """What the index has to have of a release, but its documents; its own files last."""
        return (*(contents.dependencies(said) if self.wheelhouse else ()), *contents.own(said))

    def _compare(self, item: Item, listed: Mapping[str, Held], digest: Digest) -> None:
        if item.kind == "documents":
            self._require_same_documents(self.held(item.project, item.version)[item.filename], digest)
            return
        found = listed.get(item.filename)
        if found is None:
            raise VerificationError(f"{item.filename} is there, but not listed for pip", where=shown(self.simple))
        with self._fetched(found.url) as path:
            require_same(files.sha256_file(path), item.sha256, where=shown(found.url))

    def _require_same(self, item: Item, found: Held, digest: Digest) -> None:
        if item.kind != "documents":
            require_same(found.sha256 or self._digest(found), item.sha256, where=shown(found.url))
        elif found.sha256 != item.sha256:
            # Signatures that were made anew are as good as those that are there, if it is the same that is signed.
            self._require_same_documents(found, digest)

    def _require_same_documents(self, found: Held, digest: Digest) -> None:
        with self._fetched(found.url) as path, self._readable(found.url), zipfile.ZipFile(path) as archive:
            listing = archive.read(sums.FILE)
            require_same(files.sha256_bytes(listing), digest, where=f"{shown(found.url)}!{sums.FILE}")
            names = set(archive.namelist())
            for name, expected in sums.read(listing).items():
                if name in names:
                    require_same(files.sha256_bytes(archive.read(name)), expected, where=f"{shown(found.url)}!{name}")

    def _digest(self, found: Held) -> Digest:
        with self._fetched(found.url) as path:
            return files.sha256_file(path)

    @contextmanager
    def _fetched(self, url: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / "file"
            self.web.download(url, path)
            yield path

    @contextmanager
    def _readable(self, url: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise VerificationError(f"these are not the documents of a release: {error}", where=shown(url)) from error


def _require_only(wanted: Iterable[Item], there: Mapping[str, Held], item: Item, where: str) -> None:
    """Raise :class:`VerificationError` when the version has a file for pip that is not of the release."""
    names = {one.filename for one in wanted}
    for name in there:
        if name not in names and not name.endswith(contents.DOCUMENTS) and simple.version_of(name) is not None:
            raise VerificationError(
                f"{item.project} {item.version} has a file there that is not of this release: {name}",
                where=where,
                hint="somebody else has published under this version: release another one",
            )
