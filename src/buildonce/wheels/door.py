"""The door: a wheel comes in only when every file is what its RECORD says, and nothing else is there.

No installer checks this by default; pip and uv install wheels whose RECORD is false.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
from typing import TYPE_CHECKING, Final

from buildonce.errors import Problem, VerificationError
from buildonce.wheels.facts import gather
from buildonce.wheels.zips import opened, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.wheels.facts import WheelFacts
    from buildonce.wheels.zips import Archive, Member

__all__ = ["admit", "facts"]

_STRONG: Final = ("sha256", "sha384", "sha512")
_SCHEMES: Final = ("purelib", "platlib", "headers", "scripts", "data")
_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")  # by the specification not in RECORD
_MOST_SHOWN: Final = 20
# site.py imports these, if they are there, before it runs anything else.
_CUSTOMIZE: Final = ("sitecustomize", "usercustomize")
# distutils-precedence.pth of setuptools, as it is since version 60 and as it was since 50: the one known by
# its bytes.
_KNOWN_PTH: Final = (
    "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224",
    "7ea7ffef3fe2a117ee12c68ed6553617f0d7fd2f0590257c25c484959a3b7373",
)


def admit(path: Path, *, allow_pth: frozenset[str] = frozenset()) -> WheelFacts:
    """Check a wheel from its zip structure to the hash of its last file, in one pass, and tell its facts.

    A file that takes effect at every start of the interpreter (a ``.pth`` with a line that does something,
    ``sitecustomize``) is refused, unless it is setuptools' known one or the distribution's normalised name
    is in *allow_pth*. Raises :class:`VerificationError` that names the wheel and the member.
    """
    with opened(path) as archive:
        found, record = gather(archive)
        rows = _rows(record, f"{found.dist_info}/RECORD", path.name)
        _check_places(archive, found)
        startup = tuple(sorted(_startup(archive, found)))
        if startup and found.name not in allow_pth:
            raise refusal(
                path.name,
                startup[0],
                "it would run at every start of the interpreter",
                hint=f"if that is what you want: [tool.release.build.{found.name}] startup = true",
            )
        problems = tuple(_lies(archive, rows, found))
    if problems:
        raise VerificationError.of(problems[:_MOST_SHOWN])
    return dataclasses.replace(found, startup=startup)


def facts(path: Path) -> WheelFacts:
    """The facts of a wheel that went through the door before: reads its metadata, checks no content."""
    with opened(path) as archive:
        return gather(archive)[0]


def _rows(record: bytes, member: str, wheel: str) -> dict[str, tuple[str, str]]:
    """RECORD as a map from path to (hash, size)."""
    rows: dict[str, tuple[str, str]] = {}
    try:
        for name, digest, size in csv.reader(io.StringIO(record.decode(), newline="")):
            if rows.setdefault(name, (digest, size)) != (digest, size):
                raise refusal(wheel, member, f"it has two different rows for {name}")
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise refusal(wheel, member, "it is not a table of path, hash and size") from error
    return rows


def _check_places(archive: Archive, found: WheelFacts) -> None:
    """Every member has a place, and no two have the same one (``x.py`` and ``….data/purelib/x.py``)."""
    places: dict[str, str] = {f"scripts/{script}": "entry_points.txt" for script in found.scripts}
    for member in archive.members:
        place = _place(member.name, found)
        if place is None:
            raise refusal(
                archive.name,
                member.name,
                f"it belongs nowhere: a .data folder holds only {', '.join(_SCHEMES)}",
            )
        if places.setdefault(place, member.name) != member.name:
            raise refusal(archive.name, member.name, f"{places[place]} would be installed to the same place")


def _place(name: str, found: WheelFacts) -> str | None:
    """Scheme and path, with both kinds of site-packages as one: they are one folder in our environments."""
    parts = name.split("/")
    if parts[0] != found.data:
        return f"lib/{name}"
    if len(parts) < 3 or parts[1] not in _SCHEMES:
        return None
    scheme = "lib" if parts[1] in ("purelib", "platlib") else parts[1]
    return "/".join((scheme, *parts[2:]))


def _startup(archive: Archive, found: WheelFacts) -> Iterator[str]:
    for member in archive.members:
        first, _, rest = (_place(member.name, found) or "").removeprefix("lib/").partition("/")
        if first.split(".")[0] in _CUSTOMIZE and not first.endswith(".dist-info"):
            yield member.name
        elif not rest and first.endswith(".pth"):
            text = archive.read(member, 1 << 20)
            if hashlib.sha256(text).hexdigest() not in _KNOWN_PTH and any(map(_does_something, text.splitlines())):
                yield member.name


def _does_something(line: bytes) -> bool:
    """Whether site.py would run this line of a .pth or add it to the path."""
    return bool(line.strip()) and not line.startswith(b"#")


def _lies(archive: Archive, rows: dict[str, tuple[str, str]], found: WheelFacts) -> Iterator[Problem]:
    """Everything in which the files and RECORD differ; *rows* is used up."""
    exempt = {f"{found.dist_info}/{name}" for name in _SIGNATURES}
    own = f"{found.dist_info}/RECORD"
    for member in archive.members:
        row = rows.pop(member.name, None)
        if row is None and member.name in exempt:
            continue
        why = "it is not in RECORD" if row is None else _lie(archive, member, row, is_record=member.name == own)
        if why:
            yield from refusal(archive.name, member.name, why).problems
    for name in rows:
        yield from refusal(archive.name, name, "RECORD lists it, and it is not there").problems


def _lie(archive: Archive, member: Member, row: tuple[str, str], *, is_record: bool) -> str:
    """What is wrong with *member*, or ``""``."""
    digest, size = row
    if is_record:
        return "it must not list a hash or size of itself" if digest or size else ""
    algorithm, _, value = digest.partition("=")
    if algorithm not in _STRONG:
        return f"RECORD has no sha256 of it but {algorithm or 'nothing'}"
    if size != str(member.size):
        return f"it has {member.size} bytes, RECORD says {size or 'nothing'}"
    state = hashlib.new(algorithm)
    for piece in archive.chunks(member):
        state.update(piece)
    actual = base64.urlsafe_b64encode(state.digest()).decode().rstrip("=")
    return "" if actual == value.rstrip("=") else f"its {algorithm} is {actual}, RECORD says {value}"
