"""The texts that Debian asks of a package: description, changelog and copyright. Pure: from facts to text.

Formats: Debian Policy 3.4 (description), 4.4 (changelog), 5.6.2 (maintainer); the copyright is DEP-5
(copyright-format 1.0).
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from email import message_from_bytes
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final
from zipfile import ZipFile

from buildonce import units

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from buildonce.stage import Stage

__all__ = ["changelog", "copyright_file", "description", "homepage", "maintainer", "synopsis"]

_WIDTH: Final = 78
_PERSON: Final = re.compile(r"[^<>]*[^<>\s] <[^<>@\s]+@[^<>@\s]+>")
_SHORT: Final = 10  # digits of a commit


def synopsis(stage: Stage) -> str:
    """One line below 80 columns: no sentence, and no article or name of the package before it."""
    return units.synopsis(stage.project.name, stage.project.summary)


def description(stage: Stage) -> str:
    """The extended description, each line behind its space."""
    count = len(stage.wheelhouse.wheels)
    text = (
        f"This package holds {stage.project.name} {stage.version.pep440}, "
        f"built from commit {stage.source.commit[:_SHORT]}, and its locked dependencies "
        f"({count} Python distributions in all) as one closed set below {stage.prefix}. "
        f"It uses the system's {stage.target.interpreter.name} and shares no Python package with it."
    )
    return textwrap.fill(text, _WIDTH, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False)


def homepage(stage: Stage) -> str:
    """The project's page on the web, or ``""``."""
    return units.homepage(stage.project)


def maintainer(stage: Stage) -> str:
    """``Name <mail>``: as configured, or an author of the project or of its commits; not the builder's."""
    people = (
        stage.project.settings.maintainer,
        *stage.project.authors,
        *(change.author for change in stage.source.changes),
    )
    found = next((person for person in map(_one_line, people) if _PERSON.fullmatch(person)), "")
    # A comma would end the name in lists of people (Policy 5.6.2); .invalid is no address, ever (RFC 2606).
    return found.replace(",", "") or f"{stage.project.name} maintainers <{stage.project.name}@localhost.invalid>"


def changelog(stage: Stage) -> str:
    """One entry, of this version: the commits since the last tag, by author; its time is the commit's."""
    head = f"{stage.project.name} ({stage.version.deb(stage.target)}) {stage.target.codename}; urgency=medium"
    date = format_datetime(datetime.fromtimestamp(stage.source.epoch, UTC))
    return f"{head}\n\n{_changes(stage)}\n -- {maintainer(stage)}  {date}\n"


def _changes(stage: Stage) -> str:
    if not stage.source.changes:
        return f"  * Release {stage.version.pep440}.\n"
    authors = list(dict.fromkeys(_one_line(change.author).partition(" <")[0] for change in stage.source.changes))
    blocks = []
    for author in authors:
        mine = [c for c in stage.source.changes if _one_line(c.author).partition(" <")[0] == author]
        lines = [] if len(authors) == 1 else [f"  [ {author} ]"]
        lines += [_item(f"{_one_line(change.summary)} ({change.commit[:_SHORT]})") for change in mine]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _item(text: str) -> str:
    # A colon behind "closes" would close bugs of Debian when the package went through its archive.
    text = re.sub(r"(?i)\b(closes|lp):", r"\1", text)
    return textwrap.fill(text, _WIDTH, initial_indent="  * ", subsequent_indent="    ", break_on_hyphens=False)


def copyright_file(stage: Stage) -> str:
    """DEP-5: the project's licence, and where each bundled distribution says its own."""
    owners = [person.partition(" <")[0] for person in map(_one_line, stage.project.authors)]
    bundled = [w for w in stage.wheelhouse.wheels if w.sha256 != stage.own.sha256]
    rows = [f" {wheel.name} {wheel.version}: {_licence(wheel.path)}" for wheel in bundled]
    site = f"{stage.prefix}/lib/{stage.target.interpreter.name}/site-packages"
    comment = [
        " The package bundles these Python distributions, each under its own licence;",
        " their texts and notices are in the *.dist-info folders below",
        f" {site}.",
        *([" .", *rows] if rows else []),
    ]
    year = datetime.fromtimestamp(stage.source.epoch, UTC).year
    short = _licence_id(stage.project.license) if stage.project.license else "see-metadata"
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        f"Upstream-Name: {stage.project.name}",
        *([f"Source: {homepage(stage)}"] if homepage(stage) else []),
        "Comment:",
        *comment,
        "",
        "Files: *",
        f"Copyright: {year} {', '.join(owners) or f'the authors of {stage.project.name}'}",
        f"License: {short}",
        "",
        f"License: {short}",
        f" {_one_line(stage.project.license) or 'The project names no licence.'}",
        " .",
        " Its text, where the project ships one, is in",
        f" {site}/{_dist_info(stage.own.path)}.",
    ]
    return "\n".join(parts) + "\n"


def _licence_id(expression: str) -> str:
    """DEP-5's short names hold no spaces; SPDX's operators are written in lower case."""
    return re.sub(r"\s+(AND|OR|WITH)\s+", lambda m: f"-{m[1].lower()}-", _one_line(expression)).replace(" ", "-")


def _licence(wheel: Path) -> str:
    """What a wheel says: the expression (PEP 639), the old field when it is short, or the classifiers."""
    with ZipFile(wheel) as archive:
        metadata: Message = message_from_bytes(archive.read(f"{_dist_info(wheel)}/METADATA"))
    old = _one_line(str(metadata.get("License") or ""))
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    candidates = (
        _one_line(str(metadata.get("License-Expression") or "")),
        old if len(old) < _WIDTH else "",
        ", ".join(classifiers),
    )
    return next((text for text in candidates if text), "not said in its metadata")


def _dist_info(wheel: Path) -> str:
    with ZipFile(wheel) as archive:
        return next(
            n.partition("/")[0] for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1
        )


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
