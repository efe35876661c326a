"""Asks apt which packages a target needs. apt keeps all in a folder of its own: no root, no trace elsewhere.

Proxies, credentials and certificates are those of the user's apt. The lists are signed by the distribution
and apt checks that; the sha256 of every package comes from them.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from buildonce.debs import archives as known
from buildonce.errors import ConfigurationError, LockError, MissingToolError, Problem, ReleaseError
from buildonce.model import Command, DebPin, Digest, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from buildonce.model import Outcome, Target
    from buildonce.protocols import Runner

__all__ = ["resolve"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
_URI: Final = re.compile(r"'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<digest>[0-9a-f]{64})")


def resolve(
    target: Target,
    packages: Iterable[str],
    runner: Runner,
    *,
    state: Path,
    asked: Mapping[str, str] | None = None,
    archives: Sequence[known.Archive] | None = None,
) -> tuple[DebPin, ...]:
    """*packages* with all that they need on an empty system of *target*, sorted by name.

    *state* is a folder in which apt keeps its lists for the next time. *asked* says where a package was asked
    for (a file and key path), for the error that names it. *archives* are those of the user's apt
    configuration unless given.
    Raises :class:`ConfigurationError` for a package that is not there, :class:`MissingToolError` without apt,
    :class:`ReleaseError` when the lists cannot be read.
    """
    wanted = tuple(sorted(set(packages)))
    found = tuple(archives) if archives is not None else known.find(target)
    with _Apt(target, runner, state / "apt" / target.name).locked() as apt:
        apt.update(found)
        _make_sure_they_exist(wanted, apt.names(), target, asked or {})
        return apt.closure(wanted)


class _Apt:
    """apt with its own configuration of sources, its own lists and no installed package."""

    def __init__(self, target: Target, runner: Runner, folder: Path) -> None:
        self._target, self._runner, self._folder = target, runner, folder
        self._sources = folder / "target.sources"
        options = {
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": target.architecture,
            "APT::Architectures": target.architecture,
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "APT::Sandbox::User": "",  # root's folders need not be readable for _apt
            "APT::Update::Error-Mode": "any",  # a list that was not fetched is an error, not an older list
            "Acquire::Languages": "none",
            # Otherwise --print-uris names md5, or nothing for lists that have sha256 alone.
            "Acquire::ForceHash": "SHA256",
        }
        self._options = tuple(part for name, value in options.items() for part in ("-o", f"{name}={value}"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[_Apt]:
        """Make the folder, and keep it to this process."""
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self

    def update(self, archives: Sequence[known.Archive]) -> None:
        """Fetch the lists, then leave out those that the distribution did not publish, if it did any."""
        self._use(archives)
        outcome = self._run("apt-get", "update")
        if outcome.returncode != 0:
            raise ReleaseError(
                f"apt could not read the package lists of {self._target.name} ({self._target.codename})",
                where=", ".join(sorted({_without_user(archive.uri) for archive in archives})),
                hint=f"mend the sources of apt, or export {known.VARIABLE}=/path/to/a/file.sources",
                log=outcome.tail,
            )
        # A company's own archive may call itself anything; beside the distribution's, anything else is a
        # third party's.
        lines = self._data(
            "apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)", "Created-By: Packages"
        )
        rows = [line.split(" ", 2) for line in lines.splitlines()]
        own = {
            (suite, uri.rstrip("/")) for origin, suite, uri in rows if origin.casefold() == self._target.distribution
        }
        if own:
            self._use([archive for archive in archives if (archive.suite, archive.uri.rstrip("/")) in own])

    def names(self) -> frozenset[str]:
        """The names of all packages."""
        return frozenset(self._data("apt-cache", "pkgnames").split())

    def closure(self, wanted: Sequence[str]) -> tuple[DebPin, ...]:
        """*wanted* and what they need, with the sha256 of the signed lists."""
        outcome = self._run("apt-get", "install", "--print-uris", "-qq", "-y", *wanted)
        if outcome.returncode != 0:
            explained = self._run("apt-get", "install", "--simulate", "-q", *wanted)  # -qq leaves the reason out
            raise ConfigurationError(
                f"apt cannot install the OS packages of {self._target.name} together",
                where=", ".join(wanted),
                log=explained.stdout.decode() + explained.tail,
            )
        return tuple(sorted(map(_pin, outcome.stdout.decode().splitlines()), key=lambda pin: pin.name))

    def _use(self, archives: Sequence[known.Archive]) -> None:
        self._sources.write_text(known.text(archives))

    def _data(self, *argv: str) -> str:
        outcome = self._run(*argv)
        if outcome.returncode != 0:
            raise ReleaseError(f"{argv[0]} {argv[1]} failed", log=outcome.tail)
        return outcome.stdout.decode()

    def _run(self, program: str, *arguments: str) -> Outcome:
        try:
            return self._runner.run(Command(argv=(program, *self._options, *arguments), capture=True), check=False)
        except MissingToolError as error:
            raise MissingToolError(
                "apt, which resolves the OS packages, is not on this machine",
                hint="install your distribution's package of apt, or run `release lock` on Debian or Ubuntu",
            ) from error


def _pin(line: str) -> DebPin:
    """One line of ``apt-get --print-uris``."""
    match = _URI.fullmatch(line.strip())
    if match is None:
        raise LockError(f"apt names no sha256 for an OS package: {line}")
    name, version, architecture = match["file"].removesuffix(".deb").split("_")
    version = unquote(version)
    without_epoch = version.partition(":")[2] or version
    return DebPin(
        name=name,
        version=version,
        architecture=architecture,
        file=RemoteFile(
            filename=f"{name}_{without_epoch}_{architecture}.deb",
            sha256=Digest(match["digest"]),
            size=int(match["size"]),
            url=_without_user(match["url"]),
        ),
    )


def _make_sure_they_exist(
    wanted: Iterable[str], names: frozenset[str], target: Target, asked: Mapping[str, str]
) -> None:
    """apt would take an unknown name as a regular expression and install whatever matches."""
    problems = []
    for name in wanted:
        if _NAME.fullmatch(name) and name in names:
            continue
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
        problems.append(
            Problem(
                message=f"{target.name} has no OS package {name!r}",
                where=asked.get(name, ""),
                hint=f"did you mean {near[0]!r}?" if near else f"look it up with `apt-cache search` on {target.name}",
            )
        )
    if problems:
        first, *more = problems
        raise ConfigurationError(first.message, where=first.where, hint=first.hint, more=tuple(more))


def _without_user(url: str) -> str:
    """*url* without the credentials that a mirror's entry may hold: a lock is committed."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
