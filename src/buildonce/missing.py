"""Reads what a compiler said: which header, library or program it missed, what package holds that,
and what it tried that no build may.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Forbidden", "Missing", "find", "forbidden", "hint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Something that compiling asked for and the build root does not hold."""

    what: str  # "libpq-fe.h", "pg_config"
    package: str  # on Debian; "" when it is not a well-known one


_PATTERNS: Final = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"fatal error: ['\"]?(?P<what>[\w./+-]+)['\"]?: No such file or directory",  # gcc
        r"fatal error: ['\"](?P<what>[\w./+-]+)['\"] file not found",  # clang
        r"cannot find -l(?P<what>[\w.+-]+?)(?::|$)",  # ld
        r"^(?:error: |Error: )?(?P<what>[\w.+-]+) executable not found",
        r"^(?:/bin/)?(?:ba)?sh: (?:line )?\d+: (?P<what>[\w.+-]+): (?:command )?not found",
        r"No such file or directory: '(?P<what>[\w.+-]+)'$",  # Python, for a program
        r"Package '(?P<what>[^']+)', required by '[^']+', not found",  # pkgconf
        r"No package '(?P<what>[^']+)' found",  # pkg-config
        r"Package '?(?P<what>[\w.+-]+)'? was not found in the pkg-config search path",
        r"Dependency \"(?P<what>[^\"]+)\" not found",  # meson
        r"Program '(?P<what>[^' ]+)' not found",  # meson
        r"headers or library files could not be found for (?P<what>[\w.+-]+?),?$",  # Pillow
    )
)


@cache
def _table() -> tuple[dict[str, str], dict[str, list[str]]]:
    data = tomllib.loads(share.path("builders", "wheel", "packages.toml").read_text(encoding="utf-8"))
    return {name: package for package, names in data["packages"].items() for name in names}, data["phrases"]


def find(output: str) -> tuple[Missing, ...]:
    """What the *output* of a failed build says is missing, each once, in its order."""
    packages, _ = _table()
    names = dict.fromkeys(name for _, name in sorted(_mentions(output), key=lambda mention: mention[0]))
    return tuple(Missing(what=name, package=packages.get(name, "")) for name in names)


def _mentions(output: str) -> Iterator[tuple[int, str]]:
    for pattern in _PATTERNS:
        for match in pattern.finditer(output):
            yield match.start(), match["what"]
    for phrase, names in _table()[1].items():
        for match in re.finditer(phrase, output):
            yield from ((match.start(), name) for name in names)


def hint(dist: str, missing: Collection[Missing], apt: Collection[str] = ()) -> str:
    """The lines that mend it: what to add for *dist*, beside the OS packages *apt* that are named already."""
    known = dict.fromkeys(m.package for m in missing if m.package)
    unknown = [m.what for m in missing if not m.package]
    if known and not set(known) <= set(apt):
        listed = ", ".join(f'"{package}"' for package in dict.fromkeys([*apt, *known]))
        return f"add to pyproject.toml, then run `release lock`:\n[tool.release.build.{dist}]\napt = [{listed}]"
    if unknown:
        return (
            f"find its Debian package with `apt-file search {unknown[0]}`, add it to apt = […] under "
            f"[tool.release.build.{dist}] in pyproject.toml, then run `release lock`"
        )
    return "the package is named in pyproject.toml, but the lock does not hold it: run `release lock`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forbidden:
    """Something that a build tried and that no build may: it is contained, and so it fails."""

    what: str  # "it tried to download something"
    hint: str


_FORBIDDEN: Final = (
    (
        re.compile(
            r"Temporary failure in name resolution|Name or service not known|Could not resolve host|"
            r"Network is unreachable|failed to (?:download|fetch) .*crates",
            re.IGNORECASE,
        ),
        Forbidden(
            what="it tried to download something",
            hint="builds have no network: lock a version that has a wheel for the target",
        ),
    ),
    (
        re.compile(r"(?:No such file or directory|not found|Read-only file system).*/nonexistent"),
        Forbidden(
            what="it wants the home folder of whoever builds it",
            hint="builds have none: what it reads there has to come with the sources; what it writes, to a "
            "folder of its own, such as /tmp",
        ),
    ),
    (
        re.compile(r"Read-only file system"),
        Forbidden(
            what="it tried to write outside of its folder",
            hint="a build may write below /build and /tmp; the end of the log says what it wanted to write",
        ),
    ),
)


def forbidden(output: str) -> Forbidden | None:
    """What the *output* of a failed build says that it tried and may not, if it says that."""
    return next((meaning for pattern, meaning in _FORBIDDEN if pattern.search(output)), None)
