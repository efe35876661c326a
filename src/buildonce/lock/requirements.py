"""Reads a requirements.txt whose every line is one version with hashes (pip's "Requirements File Format")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from buildonce.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Line", "indexes", "read"]

_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_HINT: Final = "make the file again with `uv pip compile --generate-hashes` or `pip-compile --generate-hashes`"
# Options that change nothing about which files are meant. Where files are is read by `indexes`.
_HARMLESS: Final = ("--extra-index-url", "--index-url", "--prefer-binary", "--require-hashes", "-i")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One pinned requirement; ``hashes`` are as written, ``algorithm:digest``."""

    name: str  # normalised
    version: str
    marker: str
    hashes: tuple[str, ...]


def read(path: Path, problems: list[Problem]) -> Iterator[Line]:
    """The pins of the file *path*; what is no pin is appended to *problems*, each with its line number."""
    for number, text in _logical_lines(path.read_text("utf-8")):
        where = f"{path.name}:{number}"
        option = re.split(r"[\s=]", text, maxsplit=1)[0]
        if option in _HARMLESS:
            continue
        if option.startswith("-"):
            problems.append(Problem(message=f"{text!r} cannot be locked: it names no version", where=where, hint=_HINT))
        elif line := _line(text, where, problems):
            yield line


def indexes(path: Path) -> tuple[str, tuple[str, ...]]:
    """The index that the file names, or ``""``, and its extra ones."""
    default, extra = "", []
    for _, text in _logical_lines(path.read_text("utf-8")):
        option, _, url = text.replace("=", " ", 1).partition(" ")
        if option in ("-i", "--index-url"):
            default = url.strip()
        elif option == "--extra-index-url":
            extra.append(url.strip())
    return default, tuple(extra)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, continued ones joined, comments taken off."""
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.splitlines(), 1):
        first = first if parts else number
        line = _COMMENT.sub("", raw)
        continued = line.endswith("\\")
        parts.append(line.removesuffix("\\").strip())
        if continued:
            continue
        if joined := " ".join(part for part in parts if part):
            yield first, joined
        parts = []
    if joined := " ".join(part for part in parts if part):
        yield first, joined


def _line(text: str, where: str, problems: list[Problem]) -> Line | None:
    requirement_text, *options = re.split(r"\s+(?=--)", text)
    hashes = tuple(option.removeprefix("--hash=") for option in options if option.startswith("--hash="))
    try:
        requirement = Requirement(requirement_text)
    except InvalidRequirement:
        problems.append(Problem(message=f"{requirement_text!r} is not name==version", where=where, hint=_HINT))
        return None
    specifiers = list(requirement.specifier)
    exact = (
        len(specifiers) == 1 and specifiers[0].operator in ("==", "===") and not specifiers[0].version.endswith(".*")
    )
    if requirement.url or not exact:
        problems.append(
            Problem(message=f"{requirement_text!r} is not one version (name==version)", where=where, hint=_HINT)
        )
        return None
    return Line(
        name=canonicalize_name(requirement.name),
        version=specifiers[0].version,
        marker=str(requirement.marker or ""),
        hashes=hashes,
    )
