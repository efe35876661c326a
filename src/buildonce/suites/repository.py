"""The repository's folder: suites that are read with their signatures, and written so that hosts see a change at once.

Order of writing (what is first is of no meaning before the last is there): debs in the pool, lists under the name of
their sha256 (``by-hash``), what hosts are configured with, lists under their plain names, ``Release``, and at last
``InRelease``, by one rename(2). A host that read the InRelease before goes on with the lists that it names: they stay
until it is out of date.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import openpgp
from buildonce.suites import listing, packages, sources
from buildonce.suites.listing import Listing
from buildonce.system import files
from buildonce.system.disk import flush

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.protocols import Runner
    from buildonce.signing import Key, PublicKey
    from buildonce.suites.packages import Package
    from buildonce.system.disk import Disk

__all__ = ["DAY", "Repository", "Suite"]

DAY: Final = 86_400
_SKEW: Final = 300  # seconds by which clocks of publishers may differ
_BY_HASH: Final = "by-hash/SHA256"


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A suite as it is signed, or as it is to be."""

    name: str
    origin: str = ""
    packages: tuple[Package, ...] = ()
    days: int = 0  # how long the next signature is to be good
    url: str = ""  # where hosts see the repository
    listing: Listing | None = None  # what is signed; None for a new suite
    signer: PublicKey | None = None
    kept: frozenset[tuple[str, str]] = field(default_factory=frozenset)  # lists that stay when they are empty

    def lists(self, filename: str, sha256: Digest) -> bool:
        """Whether the deb *filename* is listed. Raises :class:`VerificationError` when it is with other bytes."""
        found = next((one for one in self.packages if one.filename == filename), None)
        if found and found.sha256 != sha256:
            raise VerificationError(
                f"listed are other bytes: their sha256 is {found.sha256}, here it is {sha256}",
                where=f"{self.name}: {filename}",
                hint="what is published is never replaced: release another version",
            )
        return found is not None

    def expired(self, now: int) -> bool:
        """Whether hosts refuse it."""
        return self.listing is None or self.listing.valid_until <= now


class Repository:
    """The repository in the folder of *disk*, which *runner*'s apt-ftparchive describes."""

    def __init__(self, disk: Disk, runner: Runner) -> None:
        self.root, self._disk = disk.root, disk
        self._runner = runner

    def suites(self) -> tuple[str, ...]:
        """The names of all suites that are published."""
        return tuple(sorted(path.parent.name for path in self.root.glob("dists/*/InRelease")))

    def scan(self, filename: str) -> Package:
        """The deb *filename* in the pool, for a list."""
        return packages.scan(self.root, filename, self._runner)

    def read(self, name: str, trusted: Sequence[PublicKey]) -> Suite | None:
        """The suite *name*, if it is there. Raises :class:`VerificationError` unless one of *trusted* signed all of it.

        What is read here is signed again: nothing gets a signature because it lies in the folder.
        """
        place = self.root / "dists" / name / "InRelease"
        if not place.is_file():
            return None
        text, signer = _opened(place.read_bytes(), trusted, where=str(place))
        facts = listing.read(text, where=str(place))
        if facts.suite != name:
            raise VerificationError(f"this is the suite {facts.suite}, not {name}", where=str(place))
        found: dict[tuple[str, str, str], Package] = {}
        kept = set()
        for path, (_, digest) in facts.files.items():
            if path.endswith("/Packages"):
                kept.add((path.split("/")[0], path.split("/")[1].removeprefix("binary-")))
                stored = self._stored(name, path, digest)
                found.update((one.key, one) for one in packages.read(stored, where=f"dists/{name}/{path}"))
        return Suite(
            name=name,
            origin=facts.origin,
            packages=tuple(found.values()),
            listing=facts,
            signer=signer,
            kept=frozenset(kept),
        )

    def write(self, suite: Suite, key: Key, *, now: int) -> Listing:
        """Publish *suite*, signed with *key* at the time *now*; ``suite.listing`` is what it replaces."""
        folder = self.root / "dists" / suite.name
        lists, facts = dict(_lists(suite)), _facts(suite, now)
        text = self._described(lists, facts)
        made = listing.read(text, where=suite.name)
        for path, data in lists.items():
            self._disk.put(_by_hash(folder, path, made.files[path][1]), data)
        for place, data in sources.files(suite, key, root=self.root, lists=lists).items():
            self._disk.put(place, data)
        self._last_seen_now(folder, suite.listing)
        for path, data in lists.items():
            self._disk.put(folder / path, data)
        self._disk.put(folder / "Release.gpg", openpgp.sign(key, text, time=facts.date))
        self._disk.put(folder / "Release", text)
        flush(folder)
        self._disk.put(folder / "InRelease", openpgp.cleartext(key, text, time=facts.date))
        flush(folder)
        self.tidy(made, older_than=now - suite.days * DAY)
        return made

    def tidy(self, made: Listing, *, older_than: int) -> None:
        """Remove lists of the suite that *made* describes, if hosts were last sent to them before *older_than*."""
        folder = self.root / "dists" / made.suite
        current = {digest for _, digest in made.files.values()}
        for path in folder.glob("*/*/Packages*"):
            if str(path.relative_to(folder)) not in made.files:
                path.unlink()
        for path in folder.glob(f"*/*/{_BY_HASH}/*"):
            if path.name not in current and path.stat().st_mtime < older_than:
                path.unlink()

    def listed(self) -> frozenset[str]:
        """The debs that a host may ask for: those of every list that is there, of old ones too."""
        found: set[str] = set()
        for path in self.root.glob(f"dists/*/*/*/{_BY_HASH}/*"):
            data = path.read_bytes()
            if data.startswith(b"Package:"):
                found.update(one.filename for one in packages.read(data, where=str(path)))
        return frozenset(found)

    def _described(self, lists: Mapping[str, bytes], facts: Listing) -> bytes:
        """The Release file of *lists*, which apt-ftparchive reads from a folder that holds nothing else."""
        scratch = self._disk.aside / "lists"
        shutil.rmtree(scratch, ignore_errors=True)
        for path, data in lists.items():
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_bytes(data)
        try:
            return listing.make(scratch, facts, self._runner)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _stored(self, suite: str, path: str, digest: str) -> bytes:
        place = _by_hash(self.root / "dists" / suite, path, digest)
        data = place.read_bytes() if place.is_file() else b""
        if files.sha256_bytes(data) != digest:
            raise VerificationError(
                "this list is not as its suite was signed",
                where=str(place),
                hint="somebody changed the repository: put the file back from a copy, and find out who",
            )
        return data

    def _last_seen_now(self, folder: Path, before: Listing | None) -> None:
        """From now on the lists of *before* grow old."""
        for path, (_, digest) in before.files.items() if before else ():
            place = _by_hash(folder, path, digest)
            if place.is_file():
                os.utime(place)


def _opened(message: bytes, trusted: Sequence[PublicKey], *, where: str) -> tuple[bytes, PublicKey]:
    for public in trusted:
        try:
            return openpgp.read_cleartext(message, public), public
        except VerificationError:
            continue
    known = ", ".join(f"{public.name} ({public.keyid})" for public in trusted)
    raise VerificationError(
        "no trusted key signed this suite, or it was changed since",
        where=where,
        hint=f"trusted is {known}; name another signer's public key with --key, or begin a new repository",
    )


def _by_hash(folder: Path, path: str, digest: str) -> Path:
    return (folder / path).parent / _BY_HASH / digest


def _lists(suite: Suite) -> Iterator[tuple[str, bytes]]:
    """Every list by its path. A deb for ``all`` architectures is in the list of each."""
    architectures = {one.architecture for one in suite.packages} - {"all"}
    components = {one.component for one in suite.packages}
    wanted = suite.kept | {(component, one) for component in components for one in architectures or {"all"}}
    for component, architecture in sorted(wanted):
        chosen = [p for p in suite.packages if p.component == component and p.architecture in (architecture, "all")]
        data = packages.write(chosen)
        place = f"{component}/binary-{architecture}/Packages"
        yield place, data
        yield f"{place}.gz", gzip.compress(data, mtime=0)
        yield f"{place}.xz", lzma.compress(data)


def _facts(suite: Suite, now: int) -> Listing:
    """What the next Release file says. Hosts refuse one that is older than the one before, or from the future."""
    before = suite.listing.date if suite.listing else 0
    if now < before - _SKEW:
        raise ReleaseError(
            f"by this machine's clock {suite.name} was signed {before - now} s in the future",
            where=f"dists/{suite.name}/InRelease",
            hint="set the clock of this machine, or of the one that signed before, and run the same line again",
        )
    date = max(now, before + 1)
    return Listing(suite=suite.name, origin=suite.origin, date=date, valid_until=date + suite.days * DAY, files={})
