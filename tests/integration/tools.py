"""Programs of newer Debian releases, for tests: from the user's own mirror, unpacked, not installed."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from buildonce import target as targets
from buildonce.debs import lock as deb_lock
from buildonce.system import files
from buildonce.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COSIGN_SUITES", "cosign"]

# Debian 13 has cosign 2, which asks for more options; unstable has cosign 3.
COSIGN_SUITES = ("trixie", "sid")


@functools.cache
def cosign(suite: str) -> Path:
    """The program cosign of Debian's *suite*, kept in the user's cache folder."""
    return _package("cosign", suite) / "usr" / "bin" / "cosign"


def _package(name: str, suite: str) -> Path:
    """The files of the package *name* of *suite*, without those of the packages it depends on."""

    def make(into: Path) -> None:
        with files.scratch(into.parent, name) as aside:
            _download(name, suite, aside)
            (deb,) = aside.glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(into)], check=True)

    key = files.sha256_bytes(f"{name} {suite}".encode())
    return Store(user_cache_path("buildonce")).folder("test-tools", key, make)


def _download(name: str, suite: str, into: Path) -> None:
    """Let apt find, verify and fetch a package in a root of its own: the machine's lists stay as they are."""
    sources = deb_lock.sources(dataclasses.replace(targets.load("debian-13"), codename=suite))
    # Only the release itself: unstable has no updates and no security suite.
    main = [entry for entry in sources.split("\n\n") if f"Suites: {suite}\n" in entry]
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (into / folder).mkdir(parents=True)
    (into / "apt.sources").write_text("\n\n".join(main))
    (into / "state" / "status").touch()
    settings = {
        "Dir::State": into / "state",
        "Dir::State::status": into / "state" / "status",
        "Dir::Cache": into / "cache",
        "Dir::Etc::sourcelist": into / "apt.sources",
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", name]):
        subprocess.run(["apt-get", "-qq", *options, *command], check=True, cwd=into)
