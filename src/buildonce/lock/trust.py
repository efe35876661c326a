"""What a lock must be before it is believed: every entry a file with a sha256, no secret in an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from buildonce.errors import LockError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ONLY_FILES", "problems", "require", "without_credentials"]

ONLY_FILES: Final = "a lock can hold only files with a sha256"
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_NOT_FILES: Final = {
    "vcs": "comes from a version control system",
    "directory": "comes from a folder of one machine",
}


def require(data: Mapping[str, Any], where: str) -> None:
    """Raise one :class:`LockError` that lists all that is wrong with *data*, a parsed PEP 751 file."""
    found = tuple(problems(data, where))
    if found:
        raise LockError.of(found)


def problems(data: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """What is wrong with *data*. ``packaging`` would take md5, and stop at the first entry without a hash."""
    for package in _tables(data.get("packages")):
        named = f"{package.get('name', '?')} {package.get('version', '')}".strip()
        for key, reason in _NOT_FILES.items():
            if key in package:
                yield Problem(
                    message=f"{named} {reason}: {ONLY_FILES}",
                    where=where,
                    hint="publish it to an index as an sdist or wheel, and depend on that version",
                )
        for file in _files(package):
            yield from _problems_of_file(file, named, where)


def _files(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _tables(package.get("wheels"))
    yield from _tables([package[key] for key in ("sdist", "archive") if key in package])


def _tables(value: object) -> Iterator[Mapping[str, Any]]:
    """The tables in *value*; what is none is for ``packaging`` to refuse, which checks every type."""
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _problems_of_file(file: Mapping[str, Any], named: str, where: str) -> Iterator[Problem]:
    hashes = file["hashes"] if isinstance(file.get("hashes"), dict) else {}
    label = file.get("name") or str(file.get("url") or file.get("path") or "").rsplit("/", 1)[-1]
    if not _SHA256.match(str(hashes.get("sha256", ""))):
        has = f"only {', '.join(sorted(hashes))}" if hashes else "no hash"
        has = "a malformed sha256" if "sha256" in hashes else has
        yield Problem(
            message=f"{named}: {label} has {has}; a sha256 is required",
            where=where,
            hint="make the lock again with an index that gives sha256, then `release lock`",
        )
    url = str(file.get("url") or "")
    if url.startswith("file:") or str(file.get("path") or "").startswith("/"):
        yield Problem(
            message=f"{named}: {label} lies in a folder of one machine",
            where=where,
            hint="publish it to an index, or put it beside the lock and give a relative path",
        )
    if without_credentials(url) != url:
        yield Problem(
            message=f"{named}: the address of {label} holds a password",
            where=where,
            hint="put it into ~/.netrc or UV_INDEX_<NAME>_PASSWORD, take it out of the address",
        )


def without_credentials(url: str) -> str:
    """*url* without ``user:password@``."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
