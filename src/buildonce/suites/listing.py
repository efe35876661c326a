"""``Release``: what a suite is, until when, and the sha256 of its lists. apt trusts the rest because of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate, mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Final

from buildonce.debs.fields import paragraphs
from buildonce.errors import ReleaseError, VerificationError
from buildonce.model import Digest
from buildonce.suites.packages import ftparchive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.protocols import Runner

__all__ = ["NAME", "Listing", "make", "read"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*")

_ROW: Final = re.compile(r" ([0-9a-f]{64}) +(\d+) ([a-z0-9][A-Za-z0-9.+_-]*(?:/[A-Za-z0-9][A-Za-z0-9.+_-]*)*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The facts of a Release file. Times are seconds since the epoch."""

    suite: str
    origin: str
    date: int
    valid_until: int
    files: Mapping[str, tuple[int, Digest]]  # "main/binary-amd64/Packages.xz" → size, sha256


def make(folder: Path, facts: Listing, runner: Runner) -> bytes:
    """The Release file for the lists in *folder*, as apt-ftparchive writes it; *facts* says all but the files."""
    names = sorted(path.relative_to(folder).parts[:2] for path in folder.rglob("Packages"))
    options = {
        "Origin": facts.origin,
        "Label": facts.origin,
        "Suite": facts.suite,
        "Codename": facts.suite,
        "Date": _date(facts.date),
        "Valid-Until": _date(facts.valid_until),
        "ValidTime": str(facts.valid_until - facts.date),  # without it the line before is not heeded
        "Acquire-By-Hash": "yes",
        "Architectures": " ".join(sorted({place.removeprefix("binary-") for _, place in names})),
        "Components": " ".join(sorted({component for component, _ in names})),
    }
    arguments = [f"APT::FTPArchive::Release::{name}={value}" for name, value in options.items()]
    made = ftparchive(runner, "release", ".", cwd=folder, options=arguments).stdout
    text = b"".join(line.rstrip() + b"\n" for line in made.splitlines())
    found = read(text, where=f"dists/{facts.suite}/Release")
    wanted = (facts.suite, facts.origin, facts.date, facts.valid_until)
    if (found.suite, found.origin, found.date, found.valid_until) != wanted:
        raise ReleaseError(
            "apt-ftparchive wrote another Release file than it was asked for",
            where=f"dists/{facts.suite}/Release",
            hint="look for APT::FTPArchive settings in /etc/apt/apt.conf.d",
        )
    return text


def read(text: bytes, *, where: str) -> Listing:
    """The facts in a Release file whose signature was checked. Raises :class:`VerificationError`."""
    found = paragraphs(text.decode(errors="replace"))
    fields = found[0] if len(found) == 1 else {}
    rows = [_ROW.fullmatch(line) for line in fields.get("SHA256", "").splitlines() if line]
    if not NAME.fullmatch(fields.get("Suite", "")) or not rows or None in rows:
        raise VerificationError("it is not the Release file of a suite of this repository", where=where)
    return Listing(
        suite=fields["Suite"],
        origin=fields.get("Origin", ""),
        date=_seconds(fields, "Date", where),
        valid_until=_seconds(fields, "Valid-Until", where),
        files={row[3]: (int(row[2]), Digest(row[1])) for row in rows if row},
    )


def _date(seconds: int) -> str:
    """In the one spelling of Debian's archives: "Sat, 21 Nov 2026 15:58:00 UTC"."""
    return formatdate(seconds, usegmt=True).replace("GMT", "UTC")


def _seconds(fields: Mapping[str, str], name: str, where: str) -> int:
    parsed = parsedate_tz(fields.get(name, ""))
    if parsed is None:
        raise VerificationError(f"it has no {name}", where=where)
    return mktime_tz(parsed)
