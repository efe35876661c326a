"""The publisher for buckets: the same files and the same page as in a folder, without a rename.

``release.json`` is the first file of a version, and binds its place to one release; all others follow; ``SHA256SUMS``
is the last: with it the version is published. Then ``<name>/index.html`` lists it for people. Every write has a
condition, so that nothing is ever written over something else, by however many publishers at once.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from buildonce import manifest
from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers import page
from buildonce.publishers.parcels import Parcel, require_same
from buildonce.publishers.s3 import connecting, refusals
from buildonce.publishers.s3.bucket import Bucket, Object
from buildonce.publishers.s3.naming import Names, cache, content_type
from buildonce.publishers.together import answers
from buildonce.signing import sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from buildonce.destinations import S3Destination
    from buildonce.model import Digest
    from buildonce.publishers.parcels import Means, Outgoing
    from buildonce.publishers.s3.bucket import Found

__all__ = ["S3Publisher"]

_ATTEMPTS: Final = 5
_TRIES: Final = 20  # each time somebody else was faster
_PAUSE: Final = 0.05
_RELEASE: Final = "release"  # in the metadata of release.json: the sha256 of SHA256SUMS

_Thing = TypeVar("_Thing")
_Said = TypeVar("_Said")


class S3Publisher:
    """See :class:`buildonce.publishers.Publisher`. *attempts* is how often a server that is busy or gone is asked."""

    def __init__(self, destination: S3Destination, means: Means, *, attempts: int = _ATTEMPTS) -> None:
        connecting.require_boto3(connecting.place(destination))
        self._place, self._names = connecting.place(destination), Names(destination.prefix)
        self._destination, self._progress = destination, means.system.progress
        self._bucket = Bucket(destination, attempts=attempts)
        self._claiming = threading.Lock()
        self._claimed: Digest | None = None

    @property
    def place(self) -> str:
        """The bucket and the path in it: ``s3://bucket/prefix``, or an address."""
        return self._place

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Conditions take care of that: two that send the same do no harm, of two that differ one is refused."""
        yield

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`. A bucket cannot be asked for room."""
        with refusals.explained(self._place):
            listed = self._bucket.listing(self._names.of(release))
            found = self._each(
                lambda path: self._parcel(self._object(path, release), path.stat().st_size, release, listed),
                release.sent(),
            )
            if not all(one.there for one in found):
                self._bucket.require_write(self._names.of(release, sums.FILE))
        return tuple(found)

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`. SHA256SUMS waits for :meth:`reveal`."""
        with refusals.explained(self._place):
            self._claim(release)
            if parcel.name not in (manifest.FILE, sums.FILE):
                self._bring(self._object(release.folder / parcel.name, release), release, came)
        came(parcel.size)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`."""
        self._bucket.stop()

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        with refusals.explained(self._place):
            self._bring(self._object(release.folder / sums.FILE, release), release)
            # All files are there: nobody needs what they or another one has begun to send.
            if not self._bucket.give_up(self._names.of(release)):
                self._progress.note(f"{self._place}: this user may not list unfinished uploads; some may be left")
            self._list(release)

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`."""
        expected = {**release.files, sums.FILE: release.digest}
        with refusals.explained(self._place):
            found = self._each(lambda name: self._bucket.fetched(self._names.of(release, name)), expected)
            for (name, digest), said in zip(expected.items(), found, strict=True):
                require_same(said or "of nothing", digest, where=self._at(self._names.of(release, name)))
            listed = self._bucket.read(self._names.page(release.manifest.name))
        if listed is None or not page.has(listed[0], release.manifest.version.pep440):
            raise VerificationError(
                "the page does not list the version",
                where=self._at(self._names.page(release.manifest.name)),
                hint="somebody else wrote it at the same time: run the same line again",
            )

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """See :meth:`buildonce.publishers.Publisher.use`."""
        settings, said = self._destination, release.manifest
        options = f" --endpoint-url {settings.endpoint}" if settings.endpoint else ""
        place = f"s3://{settings.bucket}/{self._names.of(release)}"
        return (f"aws s3 cp --recursive{options} {place} {said.name}-{said.version.pep440}",)

    def collect(self, name: str, version: str, into: Path) -> None:
        """See :meth:`buildonce.publishers.Shelf.collect`."""
        start = self._names.version(name, version)
        with refusals.explained(self._place):
            listed = self._bucket.listing(start)
            if start + sums.FILE not in listed:
                raise ReleaseError(f"{name} {version} is not published there", where=self._place)
            places = {key: into / self._names.file(key.removeprefix(start)) for key in listed}
            for one in places.values():
                one.parent.mkdir(parents=True, exist_ok=True)
            self._each(lambda one: self._fetch(*one), places.items())

    def note(self, name: str, version: str, file: str, data: bytes) -> str:
        """See :meth:`buildonce.publishers.Shelf.note`."""
        key = self._names.note(name, version, file)
        with refusals.explained(self._place):
            there = self._bucket.find(key) is not None
            return "" if there or not self._bucket.put(_of_bytes(key, data)) else self._at(key)

    def _object(self, path: Path, release: Outgoing) -> Object:
        """The file *path* of *release*."""
        name = str(path.relative_to(release.folder))
        return Object(
            key=self._names.of(release, name),
            source=path,
            sha256=release.files.get(name) or files.sha256_file(path),
            content_type=content_type(name),
            cache=cache(name),
            said={_RELEASE: release.digest} if name == manifest.FILE else {},
        )

    def _parcel(self, one: Object, size: int, release: Outgoing, listed: Mapping[str, int]) -> Parcel:
        """*one*, and whether it is there. Signatures made anew are as good as those that are there."""
        name = one.key.removeprefix(self._names.of(release))
        there = one.key in listed
        if there and name in (*release.files, sums.FILE):
            found = self._bucket.find(one.key)
            there = found is not None
            if found:
                self._require_same(one, found, release)
        return Parcel(name=name, sha256=one.sha256, size=size, there=there)

    def _require_same(self, one: Object, found: Found, release: Outgoing) -> None:
        """Raise :class:`VerificationError` when the bytes *found* are those of another release."""
        name = one.key.removeprefix(self._names.of(release))
        same = one.sha256 == found.sha256 or name not in (*release.files, sums.FILE)
        claim = found.said.get(_RELEASE, release.digest)  # copies of other programs may lack it
        if same and (name != manifest.FILE or claim == release.digest):
            return
        if self._bucket.find(self._names.of(release, sums.FILE)):
            require_same(found.sha256, one.sha256, where=self._at(one.key))
        wanted, there = (release.digest, claim) if same else (one.sha256, found.sha256)
        raise VerificationError(
            f"other bytes were sent there: their sha256 is {there}, here it is {wanted}",
            where=self._at(one.key),
            hint="that version is not complete: complete it from where it was begun, or delete what is there of it",
        )

    def _claim(self, release: Outgoing) -> None:
        """Have release.json there, before anything else: who is second with another release sends nothing."""
        with self._claiming:
            if self._claimed != release.digest:
                one = self._object(release.folder / manifest.FILE, release)
                # The same again has to be refused: a server that knows no conditions would take it.
                if self._bring(one, release) and self._bucket.put(one):
                    self._progress.note(
                        f"{self._place}: the server ignores conditions (If-None-Match): two machines must not publish "
                        "there at the same time"
                    )
                self._claimed = release.digest

    def _bring(self, one: Object, release: Outgoing, came: Callable[[int], None] = lambda _: None) -> bool:
        """Have *one* there; False when it was. Raises :class:`VerificationError` when others bytes are."""
        for attempt in range(_TRIES):
            if found := self._bucket.find(one.key):
                self._require_same(one, found, release)
                return False
            if self._bucket.put(one, came):
                return True
            self._bucket.pause(_PAUSE * attempt)
        raise self._contended(one.key)

    def _list(self, release: Outgoing) -> None:
        """Write the page of all that is published, until nobody else wrote it since it was read."""
        name = release.manifest.name
        key, known = self._names.page(name), dict[str, bytes]()
        for attempt in range(_TRIES):
            before = self._bucket.read(key)
            data = page.make(name, self._published(name, known))
            etag = before[1] if before else ""
            if (before and before[0] == data) or self._bucket.put(_of_bytes(key, data), etag=etag):
                return
            self._bucket.pause(_PAUSE * attempt)
        raise self._contended(key)

    def _published(self, name: str, known: dict[str, bytes]) -> Iterator[page.Listed]:
        """The versions of which all files are there. *known* keeps what SHA256SUMS of each says."""
        start = self._names.release(name)
        sizes = {key.removeprefix(start): size for key, size in self._bucket.listing(start).items()}
        versions = [key.removesuffix(f"/{sums.FILE}") for key in sizes if key.endswith(f"/{sums.FILE}")]
        lacking = [one for one in versions if one not in known and "/" not in one]
        read = self._each(lambda one: self._bucket.read(self._names.version(name, one) + sums.FILE), lacking)
        known |= {one: found[0] for one, found in zip(lacking, read, strict=True) if found}
        for version in (one for one in versions if one in known):
            listed = sums.read(known[version])
            if all(f"{version}/{file}" in sizes for file in listed):
                yield page.Listed(
                    version=version, files=listed, sizes={file: sizes[f"{version}/{file}"] for file in listed}
                )

    def _fetch(self, key: str, place: Path) -> None:
        with place.open("wb") as out:
            if not self._bucket.fetch(key, out.write):
                raise ReleaseError("it is gone while it was fetched", where=self._at(key))

    def _each(self, question: Callable[[_Thing], _Said], things: Iterable[_Thing]) -> list[_Said]:
        return answers(question, things, stop=self._bucket.stop)

    def _at(self, key: str) -> str:
        return f"{self._place}/{self._names.below(key)}"

    def _contended(self, key: str) -> ReleaseError:
        return ReleaseError(
            "it is written by somebody else all the time",
            where=self._at(key),
            hint="run the same line again, when nobody else publishes there",
        )


def _of_bytes(key: str, data: bytes) -> Object:
    digest, kind = files.sha256_bytes(data), content_type(key)
    return Object(key=key, source=data, sha256=digest, content_type=kind, cache=cache(key))
