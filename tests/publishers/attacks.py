"""What somebody between a host and its apt repository, or on its web server, can do; and what the host then installs.

Hosts are real apt. ``docs/reference/publishers/apt.md`` has the table; the tests compare it with what happens.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from buildonce import publishing
from buildonce.publishers import AptPublisher
from buildonce.suites import Repository
from buildonce.system.console import SilentProgress
from buildonce.system.disk import Disk
from buildonce.system.run import HostRunner
from tests.debs import making as debs
from tests.publishers import making
from tests.publishers.sites import APT, means

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from buildonce.signing import Key

__all__ = ["ATTACKS", "COLUMNS", "Attack", "Host", "Repositories", "outcome", "row"]

DAY = 86_400
OLD, NEW = "1.0", "2.0"  # what a deb's version begins with
WANTED = "2.0.0-1+deb12"
EVIL = "libc6"
GENUINE = ("current", "staging")

# What some hosts and images have in apt.conf.
CARELESS = """\
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::AllowInsecureRepositories "true";
Acquire::AllowDowngradeToInsecureRepositories "true";
APT::Get::AllowUnauthenticated "true";
"""


# Where a Debian release has a row of its own: apt 3 has sqv verify signatures, which heeds their times by itself.
DIFFERENT = {("debian-13", "from the future, careless host"): "Debian 13"}

# The columns of the table.
COLUMNS: tuple[dict[str, bool], ...] = (
    {},
    {"ours": True},
    {"known": True},
    {"known": True, "ours": True},
    {"ours": True, "pinned": True},
)


class Host(Protocol):
    """A machine with apt; it has never heard of the repository."""

    def write(self, path: str, text: str) -> None:
        """Write a file of apt's configuration, such as ``sources.list.d/tinyapp.sources``."""
        ...

    def serve(self, folder: Path) -> None:
        """From now on the repository's address leads to a copy of *folder*."""
        ...

    def update(self) -> tuple[int, str]:
        """Exit code and output of ``apt-get update``."""
        ...

    def gets(self, package: str) -> tuple[str, str]:
        """Version and sha256 of the deb that ``apt-get download`` brings; both "" when it refuses."""
        ...


@dataclass(frozen=True)
class Repositories:
    """Genuine states of one repository: with 1.0 alone, then with 2.0; and others that its key signed."""

    base: Path
    key: Key
    other: Key
    url: str

    def make(
        self, name: str, *versions: str, signed: float = 0, suite: str = "{codename}", key: Key | None = None
    ) -> Path:
        """The repository with *versions*, signed so many seconds from now, kept for later."""
        root = self.base / name
        if not root.is_dir():
            root.mkdir(parents=True)
            for number, version in enumerate(versions):
                content = "forged" if key else ""
                release = making.release(self.base / "releases" / name / version, version, content=content)
                settings = APT.model_copy(update={"url": self.url, "suite": suite, "origin": "tinyapp"})
                # Not from the last seconds: each version is signed a second later, and none may be from the future.
                clock = partial(float, time.time() + signed - 60 + number)
                publisher = AptPublisher(root, settings, means(key or self.key), clock=clock)
                publishing.deliver("apt", publisher, release, SilentProgress())
        return root

    def copy(self, name: str, change: Callable[[Path], None]) -> Path:
        """The present repository, changed."""
        root = self.base / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.current, root)
        change(root)
        return root

    @property
    def current(self) -> Path:
        """The state that a host should see."""
        return self.make("current", OLD, NEW)

    @property
    def genuine(self) -> set[str]:
        """The sha256 of every deb that the publisher made, for staging too."""
        debs = self.base.glob("*/pool/main/t/tinyapp/*.deb")
        return {hashlib.sha256(p.read_bytes()).hexdigest() for p in debs if p.parts[-6] in GENUINE}

    def evil(self) -> Path:
        """The present repository with a package of the system, signed by its key: stolen, or by mistake."""

        def add(root: Path) -> None:
            deb = root / "pool/main/l/libc6/libc6_99_amd64.deb"
            deb.parent.mkdir(parents=True)
            debs.make(deb, fields={"Version": "99", "Maintainer": "M <m@example.org>", "Description": "evil"})
            repository = Repository(Disk(root), HostRunner())
            suite = repository.read("bookworm", (self.key.public,))
            assert suite
            package = repository.scan(str(deb.relative_to(root)))
            wanted = replace(suite, packages=(*suite.packages, package), days=30, url=self.url)
            repository.write(wanted, self.key, now=int(time.time()) - 30)

        return self.copy("evil", add)


@dataclass(frozen=True)
class Attack:
    """A row of the table."""

    name: str
    state: Callable[[Repositories], Path]
    careless: bool = False  # on a host with CARELESS


def _suite(root: Path) -> Path:
    return root / "dists/bookworm"


def _edit(pattern: str, before: bytes, after: bytes) -> Callable[[Repositories], Path]:
    def change(root: Path) -> None:
        for path in root.glob(pattern):
            path.write_bytes(path.read_bytes().replace(before, after))

    return lambda repositories: repositories.copy("edited", change)


def _staging_for_production(repositories: Repositories) -> Path:
    root = repositories.make("staging", OLD, NEW, "3.0", suite="{codename}-staging")
    if not _suite(root).exists():
        shutil.copytree(root / "dists/bookworm-staging", _suite(root))
    return root


def _unsigned(repositories: Repositories) -> Path:
    root = repositories.make("unsigned", OLD, NEW, "3.0", key=repositories.other)
    for name in ("InRelease", "Release.gpg"):
        (_suite(root) / name).unlink(missing_ok=True)
    return root


def _lists_of_the_old(repositories: Repositories) -> Path:
    old = repositories.make("old", OLD)

    def change(root: Path) -> None:
        for place in _suite(root).glob("main/binary-amd64/Packages*"):
            before = hashlib.sha256(place.read_bytes()).hexdigest()
            data = (_suite(old) / place.relative_to(_suite(root))).read_bytes()
            place.write_bytes(data)
            (place.parent / "by-hash/SHA256" / before).write_bytes(data)

    return repositories.copy("mixed", change)


def _nothing(repositories: Repositories) -> Path:
    return repositories.base / "nothing"


ATTACKS = (
    Attack("none: the repository as it is", lambda repositories: repositories.current),
    Attack("no signature, with 3.0", _unsigned),
    Attack("no signature, with 3.0, careless host", _unsigned, careless=True),
    Attack("signed by another key, with 3.0", lambda r: r.make("other", OLD, NEW, "3.0", key=r.other)),
    Attack("`InRelease` changed", _edit("dists/*/InRelease", b"Valid-Until: ", b"Valid-Until: x")),
    Attack("lists of 1.0 below the present `InRelease`", _lists_of_the_old),
    Attack("a deb changed, of the same size", _edit("pool/*/*/*/*.deb", b"debian-binary", b"debian-hinary")),
    Attack("freeze: out of date for a day", lambda r: r.make("expired", OLD, NEW, signed=-31 * DAY)),
    Attack("freeze, careless host", lambda r: r.make("expired", OLD, NEW, signed=-31 * DAY), careless=True),
    Attack("freeze of 1.0, careless host", lambda r: r.make("expired-old", OLD, signed=-31 * DAY), careless=True),
    Attack("replay: 1.0 as it was a day ago, not out of date", lambda r: r.make("replayed", OLD, signed=-DAY)),
    Attack("from the future: signed in a day", lambda r: r.make("future", OLD, NEW, signed=DAY)),
    Attack("from the future, careless host", lambda r: r.make("future", OLD, NEW, signed=DAY), careless=True),
    Attack("staging's suite, with 3.0, as production's", _staging_for_production),
    Attack("a package of the system, `libc6` 99, properly signed", lambda r: r.evil()),
    Attack("nothing answers any more", _nothing),
)


def outcome(
    host: Host,
    attack: Attack,
    repositories: Repositories,
    *,
    known: bool = False,
    ours: bool = False,
    pinned: bool = False,
) -> str:
    """What happens to *host*, which saw the repository before if *known*, with our files if *ours*, or the shortest
    configuration; when asked for the version that is published if *pinned*, or for any.
    """
    if attack.careless:
        host.write("apt.conf.d/99careless", CARELESS)
    current = repositories.current
    sources = (current / "bookworm.sources").read_text()
    if ours:
        host.write("preferences.d/tinyapp.pref", (current / "bookworm.pref").read_text())
    else:
        kept = ("Types", "URIs", "Suites", "Components", "Signed-By", " ")
        sources = "".join(line for line in sources.splitlines(keepends=True) if line.startswith(kept))
    host.write("sources.list.d/tinyapp.sources", sources)
    if known:
        host.serve(current)
        code, said = host.update()
        assert code == 0, said
        assert host.gets("tinyapp")[0] == NEW
    host.serve(attack.state(repositories))
    code, said = host.update()
    refused = code != 0 or "W: " in said
    if host.gets(EVIL)[0]:
        return f"**installs {EVIL} 99**"
    got, sha256 = host.gets(f"tinyapp={WANTED}" if pinned else "tinyapp")
    if not got:
        return "refused"
    if sha256 not in repositories.genuine:
        return f"**installs a forged {got}**"
    return f"{'refused, ' if refused else ''}{NEW}" if got == NEW else f"**installs {got}**"


def row(attack: Attack, cells: Sequence[str], target: str) -> str:
    """The line of the table in the docs."""
    name = f"{attack.name}, {DIFFERENT[target, attack.name]}" if (target, attack.name) in DIFFERENT else attack.name
    return f"| {name} | {' | '.join(cells)} |"
