"""Writes a rendered recipe, and never over anything that somebody else wrote.

``RECIPE`` lists what was written, in the format of sha256sum(1): files that are still so may be replaced.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from buildonce.errors import ReleaseError
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buildonce.system.archive import Member

__all__ = ["FILE", "write"]

FILE: Final = "RECIPE"


def write(members: Sequence[Member], into: Path) -> tuple[str, ...]:
    """Write *members* into the folder *into*; answers their paths.

    What an earlier call wrote is replaced, and removed when it is in no recipe any more. Raises
    :class:`ReleaseError`, and writes nothing, when another file is there or one of ours was changed since.
    """
    ours = dict(_listed(into))
    others = sorted(set(_present(into)) - {path for path in ours if _is_ours(into / path, ours[path])} - {FILE})
    if others:
        raise ReleaseError(
            f"{', '.join(others[:3])}{' and others' if others[3:] else ''} would be lost: not written by this command, "
            "or changed since",
            where=str(into),
            hint="name an empty folder, or remove what is there",
        )
    for path in ours.keys() - {member.path for member in members}:
        (into / path).unlink()
    rows = []
    for member in sorted(members, key=lambda one: one.path):
        with files.scratch(into, "recipe") as aside, member.open() as stream:
            unfinished = aside / "file"
            with unfinished.open("wb") as out:
                shutil.copyfileobj(stream, out)
            unfinished.chmod(member.mode)
            rows.append(f"{files.sha256_file(unfinished)}  {member.path}\n")
            place = into / member.path
            place.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(place)
    files.write_atomically(into / FILE, "".join(rows).encode())
    return tuple(member.path for member in members)


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    listing = folder / FILE
    if listing.is_file():
        for row in listing.read_text("utf-8").splitlines():
            digest, _, path = row.partition("  ")
            yield path, digest


def _present(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _is_ours(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and files.sha256_file(path) == digest
