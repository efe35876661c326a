"""Where a target's packages come from: the user's own apt configuration, turned to the target's release.

Reads one-line ``.list`` and deb822 ``.sources`` files (sources.list(5)). Only the distribution's own archive
is taken, so that a lock does not depend on which third-party repositories a machine happens to have; mirrors
and their keys are the user's.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from buildonce.debs.fields import paragraphs
from buildonce.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from buildonce.model import Target

__all__ = ["VARIABLE", "Archive", "find", "parse", "text"]

VARIABLE: Final = "BUILDONCE_APT_SOURCES"

_RELEASES: Final = {
    "debian": {"buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"}
    | {"unstable", "testing", "stable", "oldstable", "oldoldstable"},
    "ubuntu": {"bionic", "focal", "jammy", "noble", "oracular", "plucky", "questing", "resolute"},
}
_COMPONENTS: Final = {
    "debian": {"main", "contrib", "non-free", "non-free-firmware"},
    "ubuntu": {"main", "restricted", "universe", "multiverse"},
}
# A release with its updates; backports and proposed updates are not what a plain installation gets.
_SUITE: Final = re.compile(r"(?P<release>[a-z][a-z0-9]*)(?P<pocket>|-updates|-security|/updates)")
_KEPT: Final = {
    *("signed-by", "trusted", "allow-insecure", "allow-weak"),
    *("check-valid-until", "check-date", "inrelease-path", "by-hash"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """One suite of one mirror, with the options of its entry that say how it is trusted."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()  # deb822 names in lower case

    def entry(self) -> str:
        """This archive as a paragraph of a ``.sources`` file, for nothing but the index of packages."""
        rows = {
            "Types": "deb",
            "URIs": self.uri,
            "Suites": self.suite,
            "Components": " ".join(self.components),
        }
        rows |= {"Targets": "Packages"} | {name.title(): value for name, value in self.options}
        # A key that is written out in the entry begins on its second line.
        return "".join(f"{name}:{'' if value[0].isspace() else ' '}{value}\n" for name, value in rows.items() if value)


def text(archives: Iterable[Archive]) -> str:
    """*archives* as a ``.sources`` file."""
    return "\n".join(archive.entry() for archive in archives)


def find(
    target: Target, *, configuration: Path = Path("/etc/apt"), environment: Mapping[str, str] = os.environ
) -> tuple[Archive, ...]:
    """The archives of *target*'s distribution and release in the user's *configuration*, each once.

    The file that ``BUILDONCE_APT_SOURCES`` names is read instead when it is set. An entry of another release
    of the same distribution is turned to the target's. Raises :class:`ConfigurationError` when nothing is
    left.
    """
    named = environment.get(VARIABLE, "")
    files = [Path(named)] if named else _files(configuration)
    if named and not files[0].is_file():
        raise ConfigurationError(f"there is no file {named}", where=VARIABLE, hint="name a .sources file of apt")
    every = [archive for file in files for archive in parse(file)]
    found = tuple(dict.fromkeys(turned for archive in every if (turned := _turn(archive, target))))
    if not found:
        raise ConfigurationError(
            f"apt on this machine knows no mirror of {target.distribution}, needed for {target.name}",
            where=named or str(configuration),
            hint=f"export {VARIABLE}=/path/to/{target.distribution}.sources, a file with Types: deb, URIs, "
            f"Suites: {target.codename}, Components: main and Signed-By (sources.list(5))",
        )
    return found


def parse(path: Path) -> Iterator[Archive]:
    """Every archive of binary packages in one file of apt's configuration that is switched on."""
    text = path.read_text("utf-8", errors="replace")
    return _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _files(configuration: Path) -> list[Path]:
    parts = configuration / "sources.list.d"
    more = sorted(path for path in parts.iterdir() if path.suffix in (".list", ".sources")) if parts.is_dir() else []
    return [path for path in (configuration / "sources.list", *more) if path.is_file()]


def _deb822(text: str) -> Iterator[Archive]:
    for paragraph in paragraphs(text):
        fields = {name.lower(): value for name, value in paragraph.items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
            "0",
        ):
            continue
        options = {name: value for name, value in fields.items() if name in _KEPT and value}
        for uri in fields.get("uris", "").split():
            yield from _archives(uri, fields.get("suites", "").split(), fields.get("components", ""), options)


def _one_line(text: str) -> Iterator[Archive]:
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#]*)",
            line,
        )
        if match:
            pairs = (option.partition("=") for option in shlex.split(match["options"] or ""))
            options = {name: value.replace(",", " ") for name, _, value in pairs if name in _KEPT and value}
            yield from _archives(match["uri"], [match["suite"]], match["components"], options)


def _archives(uri: str, suites: Iterable[str], components: str, options: Mapping[str, str]) -> Iterator[Archive]:
    for suite in suites:
        yield Archive(
            uri=_mirror(uri),
            suite=suite,
            components=tuple(components.split()),
            options=tuple(sorted(options.items())),
        )


def _mirror(uri: str) -> str:
    """The first mirror of a list of mirrors on this machine, as cloud images have; any other URI as it is."""
    if not uri.startswith("mirror+file:"):
        return uri
    listing = Path(urlsplit(uri.removeprefix("mirror+")).path)
    lines = listing.read_text("utf-8").splitlines() if listing.is_file() else []
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), uri)


def _turn(archive: Archive, target: Target) -> Archive | None:
    """*archive* for the target's release; None when it is not of the distribution's archive over HTTP."""
    match = _SUITE.fullmatch(archive.suite)
    own = _COMPONENTS.get(target.distribution, archive.components)  # of another distribution nothing is known here
    components = tuple(name for name in archive.components if name in own)
    if not match or match["release"] not in _releases(target) or not components:
        return None
    if urlsplit(archive.uri).scheme not in ("http", "https"):
        return None
    pocket = "-security" if match["pocket"] == "/updates" else match["pocket"]  # Debian's name for it until 10
    return Archive(uri=archive.uri, suite=f"{target.codename}{pocket}", components=components, options=archive.options)


def _releases(target: Target) -> set[str]:
    """Code names of the distribution's releases, with the one of this machine, which may be newer."""
    known = _RELEASES.get(target.distribution, set()) | {target.codename}
    try:
        here = platform.freedesktop_os_release()
    except OSError:
        return known
    return known | {here.get("VERSION_CODENAME", target.codename)} if here.get("ID") == target.distribution else known
