"""``release apt``: what an apt repository needs between releases: a new signature in time, and room."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from buildonce import project as projects
from buildonce.debs.versions import order
from buildonce.destinations import AptDestination
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.publishers import DOCUMENTS
from buildonce.signing import sums
from buildonce.suites import Repository
from buildonce.suites.packages import POOL
from buildonce.suites.repository import DAY
from buildonce.system.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from buildonce.publishers import Means
    from buildonce.suites import Package, Suite

__all__ = ["Pruned", "State", "overview", "prune", "resign"]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A suite as it is now. Times are seconds since the epoch."""

    destination: str
    suite: str
    signed: int
    valid_until: int
    signer: str  # the fingerprint
    packages: tuple[Package, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What left a suite, and which files could go because no host asks for them any more."""

    destination: str
    unlisted: tuple[tuple[str, Package], ...]  # suite, package
    removed: tuple[str, ...]  # below the repository
    freed: int  # bytes
    waiting: tuple[str, ...]  # files that lists of hosts may still name


@dataclass(frozen=True, slots=True)
class _Site:
    """One configured apt repository."""

    name: str
    settings: AptDestination
    disk: Disk
    repository: Repository
    means: Means

    @classmethod
    def all(cls, root: Path, names: Sequence[str], means: Means) -> tuple[_Site, ...]:
        """Those that are called *names* in the project; all of them when no name is given."""
        project = projects.read(root)
        known = {key: one for key, one in project.settings.publish.items() if isinstance(one, AptDestination)}
        unknown = [name for name in names if name not in known]
        if unknown or not known:
            raise ConfigurationError(
                f"no apt repository is called {unknown[0]!r}" if unknown else "no apt repository is configured",
                where="[tool.release.publish]",
                hint=f"there are {', '.join(known)}" if known else 'add [tool.release.publish.NAME] with type = "apt"',
            )
        disks = {name: Disk((project.root / known[name].path).expanduser().resolve()) for name in names or known}
        runner = means.system.host
        return tuple(cls(name, known[name], disk, Repository(disk, runner), means) for name, disk in disks.items())

    def suites(self) -> Iterator[Suite]:
        """The suites of this destination: those whose name is its pattern's."""
        key = self.means.key(self.settings.key or "")
        pattern = re.escape(self.settings.suite).replace(re.escape("{codename}"), "[a-z]+")
        for name in self.repository.suites():
            if re.fullmatch(pattern, name):
                suite = self.repository.read(name, (key.public, *self.means.trusted))
                yield from (suite,) if suite else ()

    def listed(self, *, without: Mapping[str, Sequence[Package]]) -> frozenset[str]:
        """The debs that any suite of the repository lists, but for those in *without*, by suite."""
        key = self.means.key(self.settings.key or "").public
        read = (self.repository.read(name, (key, *self.means.trusted)) for name in self.repository.suites())
        found = ((suite.name, one) for suite in read if suite for one in suite.packages)
        return frozenset(one.filename for name, one in found if one not in without.get(name, ()))

    def write(self, suite: Suite, now: int) -> None:
        """Sign *suite* as this destination says."""
        wanted = replace(
            suite,
            origin=self.settings.origin or suite.origin,
            days=self.settings.valid_days,
            url=self.settings.url or "",
        )
        self.repository.write(wanted, self.means.key(self.settings.key or ""), now=now)

    def require_key(self, suite: Suite) -> None:
        """Raise unless hosts that trust the present signature will trust the next."""
        key = self.means.key(self.settings.key or "").public
        if suite.signer and suite.signer != key:
            raise ReleaseError(
                f"{suite.name} is signed by {suite.signer.keyid}, which its hosts trust, and not by {key.keyid}",
                where=str(self.disk.root),
                hint="give hosts the new .sources file, and sign with --new-key",
            )


def overview(root: Path, names: Sequence[str], means: Means) -> tuple[State, ...]:
    """Every suite of the apt destinations *names* (or of all), its signature checked. Changes nothing."""
    return tuple(
        State(
            destination=site.name,
            suite=suite.name,
            signed=suite.listing.date if suite.listing else 0,
            valid_until=suite.listing.valid_until if suite.listing else 0,
            signer=suite.signer.keyid if suite.signer else "",
            packages=suite.packages,
        )
        for site in _Site.all(root, names, means)
        for suite in site.suites()
    )


def resign(
    root: Path, names: Sequence[str], means: Means, *, new_key: bool = False, clock: Callable[[], float] = time.time
) -> tuple[State, ...]:
    """Sign every suite anew, so that hosts go on to trust it; what it lists stays. *new_key* may be another one."""
    for site in _Site.all(root, names, means):
        site.disk.require_access()
        with site.disk.alone(), site.disk.explained():
            suites = list(site.suites())
            for suite in suites:
                if not new_key:
                    site.require_key(suite)
            for suite in suites:
                means.system.progress.step(f"sign {site.name}: {suite.name}")
                site.write(suite, int(clock()))
    return overview(root, names, means)


def prune(
    root: Path,
    names: Sequence[str],
    means: Means,
    *,
    keep: int,
    at_once: bool = False,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> tuple[Pruned, ...]:
    """Keep the newest *keep* versions of every package in every suite, and the files that a suite or a host needs.

    A file goes when no list names it any more, and lists go when hosts do not believe them any more; *at_once* takes
    files although hosts with older lists may ask for them.
    """
    return tuple(
        _prune(site, keep=keep, at_once=at_once, dry_run=dry_run, now=int(clock()))
        for site in _Site.all(root, names, means)
    )


def _prune(site: _Site, *, keep: int, at_once: bool, dry_run: bool, now: int) -> Pruned:
    site.disk.require_access()
    root = site.disk.root
    with site.disk.alone(), site.disk.explained():
        suites = list(site.suites())
        old = {suite.name: _old(suite.packages, keep) for suite in suites}
        for suite in suites if not dry_run else ():
            site.require_key(suite)
            left = tuple(one for one in suite.packages if one not in old[suite.name])
            if old[suite.name]:
                site.write(replace(suite, packages=left), now)
            elif suite.listing:
                site.repository.tidy(suite.listing, older_than=now - site.settings.valid_days * DAY)
        wanted = site.listed(without=old) if at_once else site.repository.listed()
        spare = {str(path.relative_to(root)): path for path in root.glob(f"{POOL}/**/*.deb")}
        spare = {name: path for name, path in sorted(spare.items()) if name not in wanted}
        freed = sum(path.stat().st_size for path in spare.values())
        for path in spare.values() if not dry_run else ():
            path.unlink()
        if not dry_run:
            _drop_the_rest(root)
    unlisted = tuple((name, one) for name, packages in old.items() for one in packages)
    waiting = {one.filename for _, one in unlisted} & wanted
    return Pruned(
        destination=site.name, unlisted=unlisted, removed=tuple(spare), freed=freed, waiting=tuple(sorted(waiting))
    )


def _old(packages: Iterable[Package], keep: int) -> tuple[Package, ...]:
    """All but the newest *keep* versions of each package."""
    versions: dict[tuple[str, str], list[Package]] = {}
    for one in packages:
        versions.setdefault((one.name, one.architecture), []).append(one)
    newest_first = (sorted(found, key=lambda one: order(one.version), reverse=True) for found in versions.values())
    return tuple(one for found in newest_first for one in found[keep:])


def _drop_the_rest(root: Path) -> None:
    """Remove the documents of releases none of whose debs is in the pool any more, and what killed publishers left."""
    for part in root.glob(f"{POOL}/**/.*.part"):
        part.unlink()
    there = {path.name for path in root.glob(f"{POOL}/**/*.deb")}
    for listing in root.glob(f"{DOCUMENTS}/*/*/{sums.FILE}"):
        if not there & sums.read(listing.read_bytes()).keys():
            shutil.rmtree(listing.parent)
