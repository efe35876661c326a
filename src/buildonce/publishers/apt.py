"""Publishes debs into a signed, static apt repository in a folder, which a web server or a file system brings to hosts.

The debs go to ``pool/``, the documents of their release (manifest, SBOM, provenance, signatures) to
``releases/<name>/<version>/``; hosts see neither before the suite lists them. One suite is for one Debian release: a
deb of another would be taken for an update. What a suite lists already is signed again only if a trusted key signed it.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import manifest
from buildonce.errors import ConfigurationError, MissingToolError, ReleaseError
from buildonce.model import Digest
from buildonce.publishers.parcels import Parcel, require_same
from buildonce.signing import sums
from buildonce.suites import Repository, Suite
from buildonce.suites.packages import POOL, PROGRAM
from buildonce.suites.repository import DAY
from buildonce.system import files
from buildonce.system.disk import Disk
from buildonce.system.run import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from buildonce.destinations import AptDestination
    from buildonce.manifest import Manifest
    from buildonce.model import Artifact
    from buildonce.publishers.parcels import Means, Outgoing
    from buildonce.signing import Key

__all__ = ["DOCUMENTS", "AptPublisher"]

DOCUMENTS: Final = "releases"
_CODENAME: Final = "{codename}"
_LOGS: Final = "log"


class AptPublisher:
    """See :class:`buildonce.publishers.Publisher`. *root* is the repository's folder."""

    def __init__(
        self, root: Path, settings: AptDestination, means: Means, clock: Callable[[], float] = time.time
    ) -> None:
        self._root, self._settings, self._means, self._clock = root, settings, means, clock
        self._disk = Disk(root)
        self._repository = Repository(self._disk, means.system.host)

    @property
    def place(self) -> str:
        """The folder, and where debs appear in it."""
        return f"{self._root} ({self._settings.suite}/{self._settings.component})"

    def alone(self) -> AbstractContextManager[None]:
        """See :meth:`buildonce.publishers.Publisher.alone`."""
        return self._disk.alone()

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`."""
        _require_tool()
        self._require_clock(release.manifest)
        with self._disk.explained():
            self._disk.require_access()
            key = self._key()
            parcels: list[Parcel] = []
            for name, debs in self._by_suite(release.manifest).items():
                suite = self._read(name, key)
                _require_one_release(suite, debs, release.manifest)
                parcels += [self._deb(artifact, release.manifest, suite) for artifact in debs]
            parcels += self._documents(release)
            self._disk.require_room(sum(one.size for one in parcels if not one.there))
        return tuple(parcels)

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        place = self._root / parcel.name
        with self._disk.explained():
            if _digest(place) != parcel.sha256:
                self._disk.copy(release.folder / (parcel.path or parcel.name), place, came)
        came(parcel.size)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`. Copying a file is not long enough to be stopped."""

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        key, now = self._key(), int(self._clock())
        with self._disk.explained():
            for name, debs in self._by_suite(release.manifest).items():
                suite = self._read(name, key)
                missing = [one for one in debs if not suite.lists(self._pool(one, release.manifest), one.sha256)]
                if missing or suite.expired(now):
                    new = [self._repository.scan(self._pool(one, release.manifest)) for one in missing]
                    for one, artifact in zip(new, missing, strict=True):
                        require_same(one.sha256, artifact.sha256, where=one.filename)
                    wanted = replace(
                        suite,
                        packages=(*suite.packages, *new),
                        origin=self._settings.origin or suite.origin or release.manifest.name,
                        days=self._settings.valid_days,
                        url=self._settings.url or "",
                    )
                    self._repository.write(wanted, key, now=now)

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`."""
        key, said = self._key(), release.manifest
        with self._disk.explained():
            for name, debs in self._by_suite(said).items():
                suite = self._read(name, key)
                for artifact in debs:
                    filename = self._pool(artifact, said)
                    listed = next((one.sha256 for one in suite.packages if one.filename == filename), "not there")
                    require_same(listed, artifact.sha256, where=f"{name}: {filename}")
                    require_same(_digest(self._root / filename), artifact.sha256, where=str(self._root / filename))
            for parcel in self._documents(release):
                if _is_signed(str(parcel.path), release):
                    place = self._root / parcel.name
                    require_same(_digest(place), parcel.sha256, where=str(place))

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """See :meth:`buildonce.publishers.Publisher.use`."""
        rows = ((suite, one.file) for suite, debs in self._by_suite(release.manifest).items() for one in debs)
        lines = (f"apt install {'='.join(file.split('_')[:2])}  # {suite}" for suite, file in rows)
        return tuple(dict.fromkeys(lines))

    def collect(self, name: str, version: str, into: Path) -> None:
        """Bring the documents and the debs of a release that the suite lists into the new folder *into*.

        As a release folder without the other formats: to be verified there, and published elsewhere. Raises
        :class:`ReleaseError` when the suite does not list it.
        """
        documents = self._root / DOCUMENTS / name / version
        with self._disk.explained():
            if not (documents / manifest.FILE).is_file():
                raise self._not_here(name, version)
            said = manifest.read((documents / manifest.FILE).read_bytes(), where=str(documents / manifest.FILE))
            shutil.copytree(documents, into)
            for suite_name, debs in self._by_suite(said).items():
                suite = self._read(suite_name, self._key())
                for artifact in debs:
                    filename = self._pool(artifact, said)
                    if not suite.lists(filename, artifact.sha256):
                        raise self._not_here(name, version)
                    (into / artifact.file).symlink_to(self._root / filename)

    def note(self, name: str, version: str, file: str, data: bytes) -> str:
        """See :meth:`buildonce.publishers.Shelf.note`."""
        place = self._root / DOCUMENTS / name / f"{version}.promotions" / file
        if place.exists():
            return ""
        with self._disk.explained():
            self._disk.put(place, data)
        return str(place)

    def _not_here(self, name: str, version: str) -> ReleaseError:
        return ReleaseError(
            f"{name} {version} is not published there",
            where=self.place,
            hint="`release apt list` shows the versions of every suite",
        )

    def _key(self) -> Key:
        return self._means.key(self._settings.key or "")

    def _read(self, name: str, key: Key) -> Suite:
        """The suite *name*, empty if it is not there. Its hosts have to know *key*."""
        suite = self._repository.read(name, (key.public, *self._means.trusted))
        if suite is None:
            return Suite(name=name)
        if suite.signer != key.public:
            signer = suite.signer.keyid if suite.signer else ""
            raise ReleaseError(
                f"the suite {name} is signed by {signer}, which its hosts trust, and not by {key.public.keyid}",
                where=str(self._root),
                hint="name that key in RELEASE_KEY or in `key`; to change it: release apt resign --new-key",
            )
        return suite

    def _by_suite(self, said: Manifest) -> dict[str, list[Artifact]]:
        """The debs of the release, by the suite in which they appear."""
        found: dict[str, list[Artifact]] = {}
        codenames = set()
        for one in said.artifacts:
            if one.kind == "deb":
                codenames.add(said.built(one.target).target.codename)
                suite = self._settings.suite.replace(_CODENAME, said.built(one.target).target.codename)
                found.setdefault(suite, []).append(one)
        if not found:
            raise ReleaseError(
                f"{said.name} {said.version.pep440} has no deb", where=self.place, hint="release build --format deb"
            )
        if len(codenames) > len(found):
            raise ConfigurationError(
                f"debs of {' and '.join(sorted(codenames))} cannot be in one suite: hosts would take one for an update",
                where=f"{self.place}: suite",
                hint='write suite = "{codename}", or "{codename}-staging"',
            )
        return found

    def _pool(self, artifact: Artifact, said: Manifest) -> str:
        return f"{POOL}/{self._settings.component}/{said.name[0]}/{said.name}/{artifact.file}"

    def _deb(self, artifact: Artifact, said: Manifest, suite: Suite) -> Parcel:
        filename = self._pool(artifact, said)
        found = _digest(self._root / filename)
        if found:
            require_same(found, artifact.sha256, where=str(self._root / filename))
        return Parcel(
            name=filename,
            sha256=artifact.sha256,
            size=artifact.size,
            there=bool(found) and suite.lists(filename, artifact.sha256),
            path=Path(artifact.file),
        )

    def _documents(self, release: Outgoing) -> Iterator[Parcel]:
        """All but artifacts and logs. Signatures made anew are as good as those that are there."""
        artifacts = {one.file for one in release.manifest.artifacts}
        folder = f"{DOCUMENTS}/{release.manifest.name}/{release.manifest.version.pep440}"
        for path in sorted(path for path in release.folder.rglob("*") if path.is_file()):
            name = path.relative_to(release.folder)
            if str(name) in artifacts or name.parts[0] == _LOGS:
                continue
            own, found = files.sha256_file(path), _digest(self._root / folder / name)
            if found and _is_signed(str(name), release):
                require_same(found, own, where=str(self._root / folder / name))
            size = path.stat().st_size
            yield Parcel(name=f"{folder}/{name}", sha256=own, size=size, there=bool(found), path=name)

    def _require_clock(self, said: Manifest) -> None:
        if self._clock() + DAY < said.source.epoch:
            raise ReleaseError(
                f"by this machine's clock {said.name} {said.version.pep440} was committed in the future",
                where="the clock, which says until when hosts may trust the repository",
                hint="set the clock of this machine",
            )


def _is_signed(name: str, release: Outgoing) -> bool:
    return name in release.files or name == sums.FILE


def _digest(path: Path) -> Digest:
    return files.sha256_file(path) if path.is_file() else Digest("")


def _require_tool() -> None:
    if not shutil.which(PROGRAM):
        raise MissingToolError(
            f"the program {PROGRAM} is not on this machine, which makes the lists of apt repositories",
            hint=f"sudo apt-get install {PACKAGES[PROGRAM]}",
        )


def _require_one_release(suite: Suite, debs: list[Artifact], said: Manifest) -> None:
    """Raise when *suite* has debs of the same packages for another Debian release."""
    for artifact in debs:
        revision = said.built(artifact.target).target.revision
        name = artifact.file.split("_")[0]
        for one in suite.packages:
            if one.name == name and not one.version.endswith(revision):
                raise ConfigurationError(
                    f"the suite {suite.name} has {one.name} {one.version}, for another Debian release than {revision}",
                    where=f"{suite.name}: suite",
                    hint='give each a suite of its own: suite = "{codename}"',
                )
